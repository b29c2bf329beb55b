//! Asking the name servers where a topic is.

use std::sync::Arc;
use std::time::Duration;

use tenonmq_protocol::body::{TopicRoute, json};
use tenonmq_protocol::header::GetRoute;
use tenonmq_protocol::{Command, ResponseCode};

use super::registration::Registrar;
use crate::core::routes::{Found, Keep};

/// How long one name server may take (upstream `GET_TOPIC_ROUTE_TIMEOUT`).
const DEADLINE: Duration = Duration::from_secs(3);

impl Registrar {
    /// Where a topic is: what the embedded name server says, or else the first of the others that answers.
    pub async fn route(self: Arc<Self>, topic: String) -> Found {
        if let Some(server) = self.embedded() {
            let route = server.route_of(&topic);
            return route.map_or(Found::NoTopic, |route| Found::Route(Box::new(route), Keep::No));
        }
        let mut found = Found::Alone;
        let header = GetRoute { topic: &topic, standard_json_only: true };
        for link in self.links() {
            found = match link.request(Command::with_header(&header), DEADLINE).await {
                Ok(answer) if answer.code == ResponseCode::SUCCESS.0 => {
                    match json::from_slice::<TopicRoute>(&answer.body) {
                        Ok(route) => return Found::Route(Box::new(route), Keep::AWhile),
                        Err(error) => {
                            tracing::warn!(%error, topic, name_server = link.address(), "a route cannot be read");
                            Found::NoAnswer
                        }
                    }
                }
                Ok(answer) if answer.code == ResponseCode::TOPIC_NOT_EXIST.0 => return Found::NoTopic,
                Ok(answer) => {
                    let code = ResponseCode(answer.code);
                    tracing::warn!(%code, topic, name_server = link.address(), "no route is given");
                    Found::NoAnswer
                }
                Err(error) => {
                    tracing::debug!(%error, topic, "no route");
                    Found::NoAnswer
                }
            };
        }
        found
    }
}
