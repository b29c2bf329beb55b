//! SQL filters. The broker must have them (`enablePropertyFilter=true`).

use tenonmq_client::{Error, Filter, Message, PullConsumer, ResponseCode, SimpleConsumer};

use super::support::{collector, consumer, fresh, producer, text, topic};

const EXPENSIVE: &str = "amount >= 100 AND (kind = 'card' OR kind IS NULL)";

async fn send_amounts(ns: &str, topic: &str) -> Result<(), Error> {
    let producer = producer(ns).await?;
    for (amount, kind) in [("5", "card"), ("100", "card"), ("200", "cash"), ("300", "card")] {
        let message = Message::new(topic, amount).property("amount", amount).property("kind", kind);
        producer.send(message).await?;
    }
    producer.send(Message::new(topic, "none")).await?;
    producer.send(Message::new(topic, "400").property("amount", "400")).await?;
    producer.shutdown().await;
    Ok(())
}

/// Push and pull consumers alike; the broker evaluates the expression.
pub async fn an_sql_expression_chooses_by_properties(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (listener, mut inbox) = collector();
    let push = consumer(ns, &fresh("CG"), &topic, Filter::sql(EXPENSIVE)).listener(listener).connect().await?;
    send_amounts(ns, &topic).await?;
    assert_eq!(inbox.next_bodies(3).await, ["100", "300", "400"]);
    push.shutdown().await;

    let pull = PullConsumer::builder(ns).group(fresh("CG")).filter(Filter::sql(EXPENSIVE)).connect().await?;
    let queues = pull.queues(&topic).await?;
    queues.iter().for_each(|queue| pull.seek(queue, 0));
    let pulled: Vec<String> = pull.poll().await?.iter().map(text).collect();
    assert_eq!(pulled, ["100", "300", "400"]);
    pull.shutdown().await;
    Ok(())
}

/// Before anything is consumed, with the broker's words.
pub async fn an_expression_that_does_not_parse_is_an_error(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (listener, _inbox) = collector();
    let wrong = || Filter::sql("amount >= AND");
    let push = consumer(ns, &fresh("CG"), &topic, wrong()).listener(listener).connect().await;
    assert_eq!(push.err().and_then(|error| error.code()), Some(ResponseCode::SUBSCRIPTION_PARSE_FAILED));
    let simple = SimpleConsumer::builder(ns).group(fresh("CG")).subscribe(&topic, wrong()).connect().await;
    assert_eq!(simple.err().and_then(|error| error.code()), Some(ResponseCode::SUBSCRIPTION_PARSE_FAILED));
    let pull = PullConsumer::builder(ns).group(fresh("CG")).filter(wrong()).connect().await?;
    for queue in pull.queues(&topic).await? {
        pull.seek(&queue, 0);
        let pulled = pull.pull(&queue).await;
        assert_eq!(pulled.err().and_then(|error| error.code()), Some(ResponseCode::SUBSCRIPTION_PARSE_FAILED));
    }
    Ok(())
}
