//! The few administrative calls that tests and examples need. Operators have `mqadmin` and the broker's own tools.

use std::sync::Arc;

use tenonmq_protocol::{
    Command, RequestCode,
    body::{
        desk::{DeskHeader, DeskRequest},
        heartbeat::{HeartbeatData, ProducerData},
        json,
        route::{BrokerData, ClusterInfo},
    },
    header::{CreateTopic, DeleteTopic, DeleteTopicRoute, RequestHeader, ViewMessage},
    message::{id::OffsetMessageId, queue::MessageQueue},
};

use crate::{
    config::ClientConfig,
    error::Error,
    received::ReceivedMessage,
    received::decode_records,
    session::{Role, Session, TEMPLATE_TOPIC, from_json},
    transport::{Connection, MASTER_ID, Reply, expect_success},
    wire::GetClusterInfo,
};

const GROUP: &str = "CLIENT_INNER_PRODUCER";
const READ_AND_WRITE: i32 = 6;

/// Creates and deletes topics and looks messages up.
pub struct Admin {
    session: Arc<Session>,
}

struct AdminRole;

impl Role for AdminRole {
    fn heartbeat(&self, client_id: &str) -> HeartbeatData {
        let producer = ProducerData { group_name: GROUP.to_owned() };
        HeartbeatData { client_id: client_id.to_owned(), producer_data_set: vec![producer], ..HeartbeatData::default() }
    }

    fn groups(&self) -> (Option<&str>, Option<&str>) {
        (Some(GROUP), None)
    }

    fn request(&self, _: &Arc<Connection>, _: Command) {}
}

impl Admin {
    /// Checks that a name server can be reached.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable.
    pub async fn connect(client: impl Into<ClientConfig>) -> Result<Self, Error> {
        Ok(Self { session: Session::start(client.into(), Arc::new(AdminRole)).await? })
    }

    /// For calls that name the broker's address, such as [`ask`](Self::ask): connects on first use, and needs a name
    /// server only for calls that ask one.
    pub fn direct(client: impl Into<ClientConfig>) -> Self {
        Self { session: Session::detached(client.into(), Arc::new(AdminRole)) }
    }

    /// One of TenonMQ's own requests, to the broker at `address`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason; code 3 from a broker that does not know the request, as Apache's do
    /// not. [`Error::Protocol`] when the answer cannot be read.
    pub async fn ask<R: DeskRequest>(&self, address: &str, request: &R) -> Result<R::Answer, Error> {
        let limit = self.session.config.request_timeout;
        let decode = |reply: Reply<'_>| {
            expect_success(R::CODE, &reply)?;
            Ok(reply.body)
        };
        let body = json::to_vec_standard(request);
        let answer = self.session.call(address, &DeskHeader::<R>::default(), &body, limit, decode).await?;
        from_json(R::CODE.name().unwrap_or("request"), &answer)
    }

    /// Creates a topic, or changes its number of queues, on every master that the name server knows. The route is
    /// known to the name server when this returns.
    ///
    /// # Errors
    /// A broker's refusal, or that one could not be asked; other brokers may have done it.
    pub async fn create_topic(&self, topic: &str, queues: u16) -> Result<(), Error> {
        let header = CreateTopic {
            topic,
            default_topic: Some(TEMPLATE_TOPIC),
            read_queue_nums: i32::from(queues),
            write_queue_nums: i32::from(queues),
            perm: READ_AND_WRITE,
            filter_type: Some("SINGLE_TAG"),
            topic_sys_flag: Some(0),
            order: false,
            attributes: Some(""),
            force: false,
        };
        for address in self.masters().await? {
            self.session.order(&address, &header, &[]).await?;
        }
        Ok(())
    }

    /// Deletes a topic on every master and at the name server.
    ///
    /// # Errors
    /// As [`create_topic`](Self::create_topic).
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        for address in self.masters().await? {
            self.session.order(&address, &DeleteTopic { topic }, &[]).await?;
        }
        let header = DeleteTopicRoute { topic, cluster_name: None };
        self.session.ask_name_server(&header, |reply| expect_success(DeleteTopicRoute::CODE, &reply)).await
    }

    /// The message with that offset message id, asked of the broker whose address the id holds.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for text that is no such id; [`Error::Refused`] when the broker has no message there.
    pub async fn view_message(&self, offset_message_id: &str) -> Result<ReceivedMessage, Error> {
        let id: OffsetMessageId = offset_message_id
            .parse()
            .map_err(|_| Error::InvalidMessage { reason: format!("{offset_message_id:?} is no offset message id") })?;
        let header = ViewMessage { topic: None, commit_log_offset: id.offset };
        let limit = self.session.config.request_timeout;
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::VIEW_MESSAGE_BY_ID, &reply)?;
            Ok(reply.body)
        };
        let record = self.session.call(&id.host.to_string(), &header, &[], limit, decode).await?;
        let nothing = || Error::Protocol { operation: "VIEW_MESSAGE_BY_ID", reason: "the answer is empty".into() };
        decode_records(None, &record).next().unwrap_or_else(|| Err(nothing()))
    }

    /// The queues of a topic that can be read, as the name server knows them now.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when the topic does not exist.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        Ok(self.session.refresh_route(topic).await?.subscribe.clone())
    }

    /// Addresses of the brokers that take writes.
    ///
    /// # Errors
    /// That no name server could be asked.
    pub async fn masters(&self) -> Result<Vec<String>, Error> {
        let cluster = self.cluster().await?;
        let master = |mut broker: BrokerData| broker.broker_addrs.remove(&MASTER_ID);
        Ok(cluster.broker_addr_table.into_values().filter_map(master).collect())
    }

    /// Address of the broker of that name which takes writes.
    ///
    /// # Errors
    /// [`Error::NoBroker`] when the name server knows none; or that no name server could be asked.
    pub async fn master(&self, broker: &str) -> Result<String, Error> {
        let mut cluster = self.cluster().await?;
        let found = cluster.broker_addr_table.get_mut(broker).and_then(|data| data.broker_addrs.remove(&MASTER_ID));
        found.ok_or_else(|| Error::NoBroker { broker: broker.to_owned() })
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::GET_BROKER_CLUSTER_INFO, &reply)?;
            Ok(reply.body)
        };
        let body = self.session.ask_name_server(&GetClusterInfo, decode).await?;
        from_json("GET_BROKER_CLUSTER_INFO", &body)
    }

    /// Closes the connections.
    pub async fn shutdown(&self) {
        self.session.stop().await;
    }
}
