internal import Facts
package import RPC
internal import SwiftProtobuf

/// The administration of the node on this machine, as a program asks for it: the twin of
/// `AdminHandler`.
package struct AdminClient: Sendable {
    private let client: RPCClient

    package init(_ client: RPCClient) { self.client = client }

    package init(socketPath: String) { self.init(RPCClient(unixSocket: socketPath)) }

    package func status() async throws(RPCClientError) -> Bsfg_Admin_V1_StatusResponse {
        try await call(.status, Bsfg_Admin_V1_StatusRequest())
    }

    package func createConsumer(_ request: Bsfg_Admin_V1_CreateConsumerRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_CreateConsumerResponse
    {
        try await call(.createConsumer, request)
    }

    package func listConsumers() async throws(RPCClientError)
        -> Bsfg_Admin_V1_ListConsumersResponse
    {
        try await call(.listConsumers, Bsfg_Admin_V1_ListConsumersRequest())
    }

    package func redeliver(_ request: Bsfg_Admin_V1_RedeliverRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_RedeliverResponse
    {
        try await call(.redeliver, request)
    }

    package func detachConsumer(_ request: Bsfg_Admin_V1_DetachConsumerRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_DetachConsumerResponse
    {
        try await call(.detachConsumer, request)
    }

    package func attachConsumer(_ request: Bsfg_Admin_V1_AttachConsumerRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_AttachConsumerResponse
    {
        try await call(.attachConsumer, request)
    }

    package func acknowledgeAlarm(_ request: Bsfg_Admin_V1_AcknowledgeAlarmRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_AcknowledgeAlarmResponse
    {
        try await call(.acknowledgeAlarm, request)
    }

    package func listArtifacts(_ request: Bsfg_Admin_V1_ListArtifactsRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ListArtifactsResponse
    {
        try await call(.listArtifacts, request)
    }

    package func showArtifact(_ request: Bsfg_Admin_V1_ShowArtifactRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ShowArtifactResponse
    {
        try await call(.showArtifact, request)
    }

    /// - Returns: the bytes of a `FetchFactsResponse`.
    package func peek(_ request: Bsfg_Admin_V1_PeekRequest) async throws(RPCClientError)
        -> [UInt8]
    {
        try await send(.peek, request)
    }

    func call<Response: SwiftProtobuf.Message>(
        _ procedure: Procedure, _ request: some SwiftProtobuf.Message
    ) async throws(RPCClientError) -> Response {
        let bytes = try await send(procedure, request)
        do {
            return try Response(serializedBytes: bytes)
        } catch {
            throw .transport(
                kind: .malformed,
                sentence: "the answer to \(procedure.method) cannot be read; run the command line "
                    + "of the node's own release")
        }
    }

    func send(_ procedure: Procedure, _ request: some SwiftProtobuf.Message)
        async throws(RPCClientError) -> [UInt8]
    {
        let body: [UInt8]
        do {
            body = try request.serializedBytes()
        } catch {
            preconditionFailure("our own request cannot be encoded: \(error)")
        }
        return try await client.call(procedure.rawValue, body)
    }
}
