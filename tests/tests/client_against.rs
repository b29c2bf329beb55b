//! The client's promises, kept against a broker: ours, or the one that `TENONMQ_TEST_NAMESRV` names.

use tenonmq_tests::client_suite::{consumers, producers, pulling, transactions};

/// The address of the name server to test against.
fn name_server() -> String {
    std::env::var("TENONMQ_TEST_NAMESRV").expect("TENONMQ_TEST_NAMESRV=host:port")
}

macro_rules! run {
    ($($module:ident :: $scenario:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() {
            if let Err(error) = $module::$scenario(&name_server()).await {
                panic!("{error:?}");
            }
        }
    )*};
}
tenonmq_tests::for_each_client_scenario!(run);
