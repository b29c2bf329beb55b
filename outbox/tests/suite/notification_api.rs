//! What receivers fetch.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::Value as Json;
use tenonmq_outbox::{
    Schedule,
    notification::{Key, Keys, Notification, Notifier, Signed},
};
use tower::ServiceExt;

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    endpoint::{Answer, Endpoint},
    notification::{builder, courier, keys, notify, paid},
};

/// How old a notification is before it is shown.
const SETTLED: Duration = Duration::from_secs(30);

fn served<D: TestDatabase>(bench: &Bench<D>) -> Notifier<D> {
    builder(bench).settling(SETTLED).build()
}

async fn send<D: TestDatabase>(notifier: &Notifier<D>, request: Request<Body>) -> (StatusCode, Json) {
    let answer = notifier.router().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 16 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn request(receiver: &str, query: &str, signature: &str) -> Request<Body> {
    let request = Request::get(format!("/notifications?{query}")).header("X-Receiver", receiver);
    request.header("X-Signature", signature).body(Body::empty()).unwrap()
}

/// As a receiver does it whose clock is the bench's.
async fn fetch<D: TestDatabase>(bench: &Bench<D>, receiver: &str, query: &str) -> (StatusCode, Json) {
    use tenonmq_outbox::Clock;
    let signature = Signed::Query { receiver, query }.sign(&keys().of(receiver), bench.clock.now_ms());
    send(&served(bench), request(receiver, query, &signature)).await
}

fn ids(page: &Json) -> Vec<&str> {
    page["notifications"].as_array().unwrap().iter().map(|one| one["businessId"].as_str().unwrap()).collect()
}

pub async fn a_receiver_fetches_what_it_missed_page_by_page<D: TestDatabase>(bench: &Bench<D>) {
    let (well, ill) = (Endpoint::well().await, Endpoint::that(Answer::Says(500, "")).await);
    for n in 0..9 {
        let endpoint = if n % 3 == 0 { &well } else { &ill };
        notify(bench, &paid(endpoint, &format!("order-{n}"))).await;
    }
    let others = Notification::to("warehouse", ill.url()).about("paid", "order-x").json("{}");
    notify(bench, &others).await;
    let binary = Notification::to("merchant-7", ill.url()).about("picture", "order-9");
    notify(bench, &binary.body("image/png", vec![0x89, 0xff])).await;
    courier(bench).otherwise(Schedule::listed([], 1)).pass().await.unwrap();
    bench.clock.advance(SETTLED);

    let mut fetched = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let (status, page) = fetch(bench, "merchant-7", &query).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        fetched.extend(ids(&page).into_iter().map(str::to_owned));
        query = format!("limit=3&after={}", page["next"].as_str().unwrap());
        if page["more"] == false {
            break;
        }
        assert_eq!(ids(&page).len(), 3);
    }
    assert_eq!(fetched, ["order-1", "order-2", "order-4", "order-5", "order-7", "order-8", "order-9"]);

    // the kept cursor shows what came since, and only when it is settled
    notify(bench, &paid(&ill, "order-late")).await;
    assert!(ids(&fetch(bench, "merchant-7", &query).await.1).is_empty());
    bench.clock.advance(SETTLED);
    assert_eq!(ids(&fetch(bench, "merchant-7", &query).await.1), ["order-late"]);

    let (_, pictures) = fetch(bench, "merchant-7", "type=picture").await;
    let picture = &pictures["notifications"][0];
    assert_eq!((&picture["contentBase64"], &picture["contentType"]), (&"if8=".into(), &"image/png".into()));
    assert_eq!((&picture["status"], &picture["createdAt"]), (&"exhausted".into(), &START_MS.into()));
    assert_eq!(ids(&fetch(bench, "merchant-7", "which=all&type=paid").await.1).len(), 10);
    let (_, first) = fetch(bench, "merchant-7", "limit=1").await;
    assert_eq!(first["notifications"][0]["content"], "{\"order\":\"order-1\"}");
}

pub async fn who_cannot_sign_is_shown_nothing_and_told_why<D: TestDatabase>(bench: &Bench<D>) {
    let notifier = served(bench);
    let signed =
        |receiver: &str, query: &str, key: &[Key], at_ms: i64| Signed::Query { receiver, query }.sign(key, at_ms);
    let (mine, theirs) = (keys().of("merchant-7"), keys().of("merchant-8"));
    for (receiver, query, signature, told) in [
        ("merchant-7", "limit=1", signed("merchant-7", "limit=1", &theirs, START_MS), "does not fit"),
        ("merchant-7", "limit=2", signed("merchant-7", "limit=1", &mine, START_MS), "does not fit"),
        ("merchant-8", "limit=1", signed("merchant-7", "limit=1", &mine, START_MS), "does not fit"),
        ("merchant-7", "", signed("merchant-7", "", &mine, START_MS - 300_001), "300001 ms away"),
        ("merchant-7", "", "letmein".to_owned(), "of the form"),
        ("", "", signed("", "", &mine, START_MS), "X-Receiver"),
    ] {
        let (status, body) = send(&notifier, request(receiver, query, &signature)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{told}");
        assert!(body["error"].as_str().unwrap().contains(told), "{body}");
    }
    let bare = Request::get("/notifications").header("X-Receiver", "merchant-7").body(Body::empty()).unwrap();
    assert_eq!(send(&notifier, bare).await.0, StatusCode::UNAUTHORIZED);
    let keyless = Notifier::builder(bench.pool.clone(), |_: &str| Vec::new()).schema(bench.schema.clone());
    let keyless = keyless.clock(bench.clock.clone()).build();
    let (status, body) = send(&keyless, request("nobody", "", &signed("nobody", "", &mine, START_MS))).await;
    assert_eq!((status, &body["error"]), (StatusCode::UNAUTHORIZED, &"the signature does not fit".into()));
}

pub async fn a_wrong_query_is_a_400_that_names_the_parameter<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(500, "")).await;
    for n in 0..2 {
        notify(bench, &paid(&endpoint, &n.to_string())).await;
    }
    bench.clock.advance(SETTLED + SECOND);
    let (_, page) = fetch(bench, "merchant-7", "limit=1").await;
    let others = format!("after={}", page["next"].as_str().unwrap());
    for (receiver, query, told) in [
        ("merchant-7", "after=1", "after"),
        ("merchant-8", others.as_str(), "after"),
        ("merchant-7", "limit=many", "limit"),
    ] {
        let (status, body) = fetch(bench, receiver, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body["error"].as_str().unwrap().starts_with(told), "{body}");
    }
    let (_, rest) = fetch(bench, "merchant-7", &others).await;
    assert_eq!((ids(&rest), &rest["more"]), (vec!["1"], &false.into()));
}

pub async fn a_database_that_is_away_is_a_503<D: TestDatabase>(bench: &Bench<D>) {
    let elsewhere = bench.schema.clone().prefix("missing_").unwrap();
    let notifier = builder(bench).schema(elsewhere).build();
    let signature = Signed::Query { receiver: "merchant-7", query: "" }.sign(&keys().of("merchant-7"), START_MS);
    let (status, body) = send(&notifier, request("merchant-7", "", &signature)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!body["error"].as_str().unwrap().contains("missing_"), "what is inside stays inside");
}
