//! The keys of sockets (upstream `NettyServerConfig` and `NettyClientConfig`), with the defaults of 5.3.3.

use super::Default::{Cpus, Fixed};
use super::Kind::{Bool, Int, Long, Text};
use super::{Key, key};

/// Keys of sockets that are listened on, in alphabetical order.
pub(super) const SERVER: &[Key] = &[
    key("bindAddress", Text, Fixed("0.0.0.0")),
    key("enableShutdownGracefully", Bool, Fixed("false")),
    key("serverAsyncSemaphoreValue", Int, Fixed("64")),
    key("serverCallbackExecutorThreads", Int, Fixed("0")),
    key("serverChannelMaxIdleTimeSeconds", Int, Fixed("120")),
    key("serverNettyWorkerGroupEnable", Bool, Fixed("true")),
    key("serverOnewaySemaphoreValue", Int, Fixed("256")),
    key("serverPooledByteBufAllocatorEnable", Bool, Fixed("true")),
    key("serverSelectorThreads", Int, Fixed("3")),
    key("serverSocketBacklog", Int, Fixed("1024")),
    key("serverSocketRcvBufSize", Int, Fixed("0")),
    key("serverSocketSndBufSize", Int, Fixed("0")),
    key("serverWorkerThreads", Int, Fixed("8")),
    key("shutdownWaitTimeSeconds", Int, Fixed("30")),
    key("useEpollNativeSelector", Bool, Fixed("false")),
    key("writeBufferHighWaterMark", Int, Fixed("0")),
    key("writeBufferLowWaterMark", Int, Fixed("0")),
];

/// Keys of connections that are made, in alphabetical order.
pub(super) const CLIENT: &[Key] = &[
    key("channelNotActiveInterval", Long, Fixed("60000")),
    key("clientAsyncSemaphoreValue", Int, Fixed("65535")),
    key("clientCallbackExecutorThreads", Int, Cpus(|cpus| cpus)),
    key("clientChannelMaxIdleTimeSeconds", Int, Fixed("120")),
    key("clientCloseSocketIfTimeout", Bool, Fixed("true")),
    key("clientOnewaySemaphoreValue", Int, Fixed("65535")),
    key("clientPooledByteBufAllocatorEnable", Bool, Fixed("false")),
    key("clientSocketRcvBufSize", Int, Fixed("0")),
    key("clientSocketSndBufSize", Int, Fixed("0")),
    key("clientWorkerThreads", Int, Fixed("4")),
    key("connectTimeoutMillis", Int, Fixed("3000")),
    key("disableCallbackExecutor", Bool, Fixed("false")),
    key("disableNettyWorkerGroup", Bool, Fixed("false")),
    key("enableReconnectForGoAway", Bool, Fixed("true")),
    key("isScanAvailableNameSrv", Bool, Fixed("true")),
    key("maxReconnectIntervalTimeSeconds", Int, Fixed("60")),
    key("socksProxyConfig", Text, Fixed("{}")),
    key("useTLS", Bool, Fixed("false")),
];
