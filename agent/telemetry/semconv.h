// Attribute keys and metric names. The only place where they are spelled. Sources: OpenTelemetry semantic conventions
// v1.44.0 (docs/http, docs/db, docs/resource); "legacy" marks the names that SigNoz pages still read.
#pragma once

#include <string_view>

namespace zerotap::semconv {

// HTTP
inline constexpr std::string_view kHttpRequestMethod = "http.request.method";
inline constexpr std::string_view kHttpRequestMethodOriginal = "http.request.method_original";
inline constexpr std::string_view kHttpMethod = "http.method";            // legacy
inline constexpr std::string_view kHttpStatusCode = "http.status_code";   // legacy
inline constexpr std::string_view kHttpResponseStatusCode = "http.response.status_code";
inline constexpr std::string_view kHttpRoute = "http.route";
inline constexpr std::string_view kHttpRequestBodySize = "http.request.body.size";
inline constexpr std::string_view kHttpResponseBodySize = "http.response.body.size";
inline constexpr std::string_view kHttpRequestHeaderPrefix = "http.request.header.";
inline constexpr std::string_view kHttpResponseHeaderPrefix = "http.response.header.";
inline constexpr std::string_view kUrlScheme = "url.scheme";
inline constexpr std::string_view kUrlPath = "url.path";
inline constexpr std::string_view kUrlQuery = "url.query";
inline constexpr std::string_view kUrlFull = "url.full";
inline constexpr std::string_view kUserAgentOriginal = "user_agent.original";
inline constexpr std::string_view kB3TraceId = "zerotap.b3.trace_id";
inline constexpr std::string_view kB3SpanId = "zerotap.b3.span_id";
inline constexpr std::string_view kRequestId = "zerotap.request_id";

// Database
inline constexpr std::string_view kDbSystemName = "db.system.name";
inline constexpr std::string_view kDbSystem = "db.system";  // legacy
inline constexpr std::string_view kDbNamespace = "db.namespace";
inline constexpr std::string_view kDbName = "db.name";  // legacy
inline constexpr std::string_view kDbQueryText = "db.query.text";
inline constexpr std::string_view kDbQuerySummary = "db.query.summary";
inline constexpr std::string_view kDbOperation = "db.operation";  // legacy
inline constexpr std::string_view kDbOperationBatchSize = "db.operation.batch.size";
inline constexpr std::string_view kDbResponseStatusCode = "db.response.status_code";
inline constexpr std::string_view kDbResponseReturnedRows = "db.response.returned_rows";
inline constexpr std::string_view kDbResponseAffectedRows = "zerotap.db.affected_rows";
inline constexpr std::string_view kDbTransactionId = "zerotap.db.transaction.id";
inline constexpr std::string_view kDbUser = "db.user";  // legacy name, no stable successor
inline constexpr std::string_view kDbApplicationName = "zerotap.db.application_name";

// Network and errors
inline constexpr std::string_view kClientAddress = "client.address";
inline constexpr std::string_view kServerAddress = "server.address";
inline constexpr std::string_view kServerPort = "server.port";
inline constexpr std::string_view kNetPeerName = "net.peer.name";  // legacy, client spans only
inline constexpr std::string_view kNetworkPeerAddress = "network.peer.address";
inline constexpr std::string_view kNetworkPeerPort = "network.peer.port";
inline constexpr std::string_view kNetworkProtocolName = "network.protocol.name";
inline constexpr std::string_view kNetworkProtocolVersion = "network.protocol.version";
inline constexpr std::string_view kNetworkTransport = "network.transport";
inline constexpr std::string_view kErrorType = "error.type";

inline constexpr std::string_view kCaptureIncomplete = "zerotap.capture.incomplete";

// Where the time of a slow request's thread went; zerotap.wait.cause names the largest.
inline constexpr std::string_view kWaitPrefix = "zerotap.wait.";
inline constexpr std::string_view kWaitCause = "zerotap.wait.cause";
inline constexpr std::string_view kWaitOnCpu = "zerotap.wait.on_cpu";
inline constexpr std::string_view kWaitCpuQueue = "zerotap.wait.cpu_queue";
inline constexpr std::string_view kWaitFutex = "zerotap.wait.futex";
inline constexpr std::string_view kWaitDisk = "zerotap.wait.disk";
inline constexpr std::string_view kWaitSocket = "zerotap.wait.socket";
inline constexpr std::string_view kWaitPoll = "zerotap.wait.poll";
inline constexpr std::string_view kWaitSleep = "zerotap.wait.sleep";
inline constexpr std::string_view kWaitPipe = "zerotap.wait.pipe";
inline constexpr std::string_view kWaitChild = "zerotap.wait.child";
inline constexpr std::string_view kWaitOther = "zerotap.wait.other";
inline constexpr std::string_view kWaitUnknown = "zerotap.wait.unknown";

// Resource
inline constexpr std::string_view kServiceName = "service.name";
inline constexpr std::string_view kServiceNamespace = "service.namespace";
inline constexpr std::string_view kServiceVersion = "service.version";
inline constexpr std::string_view kServiceInstanceId = "service.instance.id";
inline constexpr std::string_view kDeploymentEnvironmentName = "deployment.environment.name";
inline constexpr std::string_view kDeploymentEnvironment = "deployment.environment";  // legacy
inline constexpr std::string_view kProcessPid = "process.pid";
inline constexpr std::string_view kProcessCreationTime = "process.creation.time";
inline constexpr std::string_view kProcessExecutableName = "process.executable.name";
inline constexpr std::string_view kProcessExecutablePath = "process.executable.path";
inline constexpr std::string_view kProcessCommand = "process.command";
inline constexpr std::string_view kProcessOwner = "process.owner";
inline constexpr std::string_view kProcessRuntimeName = "process.runtime.name";
inline constexpr std::string_view kProcessRuntimeVersion = "process.runtime.version";
inline constexpr std::string_view kHostName = "host.name";
inline constexpr std::string_view kHostId = "host.id";
inline constexpr std::string_view kHostArch = "host.arch";
inline constexpr std::string_view kOsType = "os.type";
inline constexpr std::string_view kContainerId = "container.id";
inline constexpr std::string_view kContainerName = "container.name";
inline constexpr std::string_view kSystemdUnit = "zerotap.systemd.unit";
inline constexpr std::string_view kTelemetrySdkName = "telemetry.sdk.name";
inline constexpr std::string_view kTelemetrySdkLanguage = "telemetry.sdk.language";
inline constexpr std::string_view kTelemetrySdkVersion = "telemetry.sdk.version";
inline constexpr std::string_view kTelemetryDistroName = "telemetry.distro.name";
inline constexpr std::string_view kTelemetryDistroVersion = "telemetry.distro.version";

// Metrics
inline constexpr std::string_view kHttpServerRequestDuration = "http.server.request.duration";
inline constexpr std::string_view kHttpClientRequestDuration = "http.client.request.duration";
inline constexpr std::string_view kDbClientOperationDuration = "db.client.operation.duration";
inline constexpr std::string_view kSyscallDuration = "zerotap.syscall.duration";
inline constexpr std::string_view kTcpConnectDuration = "zerotap.tcp.connect.duration";
inline constexpr std::string_view kTcpRoundTrip = "zerotap.tcp.rtt";
inline constexpr std::string_view kTcpRetransmits = "zerotap.tcp.retransmits";
inline constexpr std::string_view kTcpConnections = "zerotap.tcp.connections";
inline constexpr std::string_view kRequestsUntimed = "zerotap.requests.untimed";
inline constexpr std::string_view kRole = "zerotap.role";
inline constexpr std::string_view kSyscallName = "syscall.name";
inline constexpr std::string_view kOverflow = "otel.metric.overflow";

}  // namespace zerotap::semconv
