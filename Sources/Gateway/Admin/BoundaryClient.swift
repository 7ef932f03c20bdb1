package import Facts
package import RPC
internal import SwiftProtobuf

/// What producers and consumers ask of a node, over whichever connection they have.
package struct BoundaryClient: Sendable {
    private let client: RPCClient

    package init(_ client: RPCClient) { self.client = client }

    /// `request` from `AppendRequestWriter`.
    package func appendFact(_ request: [UInt8], timeoutMilliseconds: Int? = nil)
        async throws(RPCClientError) -> Bsfg_V1_AppendFactResponse
    {
        try read(try await send(.appendFact, request, timeoutMilliseconds), .appendFact)
    }

    /// `request` from `AppendRequestWriter`.
    package func appendFacts(_ request: [UInt8], timeoutMilliseconds: Int? = nil)
        async throws(RPCClientError) -> Bsfg_V1_AppendFactsResponse
    {
        try read(try await send(.appendFacts, request, timeoutMilliseconds), .appendFacts)
    }

    /// - Returns: the bytes of a `FetchFactsResponse`.
    package func fetchFacts(
        _ request: Bsfg_V1_FetchFactsRequest, timeoutMilliseconds: Int? = nil
    ) async throws(RPCClientError) -> [UInt8] {
        try await send(.fetchFacts, WireCodec.encode(request, .proto), timeoutMilliseconds)
    }

    package func confirmReceipt(_ request: Bsfg_V1_ConfirmReceiptRequest)
        async throws(RPCClientError) -> Bsfg_V1_ConfirmReceiptResponse
    {
        let body = WireCodec.encode(request, .proto)
        return try read(try await send(.confirmReceipt, body, nil), .confirmReceipt)
    }

    /// Only peers are answered.
    package func hello(_ request: Bsfg_V1_HelloRequest) async throws(RPCClientError)
        -> Bsfg_V1_HelloResponse
    {
        try read(try await send(.hello, WireCodec.encode(request, .proto), nil), .hello)
    }

    private func send(_ procedure: Procedure, _ body: [UInt8], _ timeoutMilliseconds: Int?)
        async throws(RPCClientError) -> [UInt8]
    {
        try await client.call(
            procedure.rawValue, body, timeoutMilliseconds: timeoutMilliseconds)
    }

    private func read<Response: SwiftProtobuf.Message>(
        _ bytes: [UInt8], _ procedure: Procedure
    ) throws(RPCClientError) -> Response {
        do throws(ServiceError) {
            return try WireCodec.decodeResponse(Response.self, bytes, .proto)
        } catch {
            throw .transport(kind: .malformed, sentence: error.message)
        }
    }
}

/// What `GET /health` says of a node and of the one who asks.
package struct NodeHealth: Sendable {
    package var status = ""
    package var zone = ""
    package var identity = ""
    package var release = ""
    package var callerIdentity = ""
    package var callerRoles: [String] = []
    /// Their clock; nil where the node is of a release that does not tell.
    package var timeUnixMilliseconds: Int64?

    package static func ask(_ client: RPCClient, timeoutMilliseconds: Int? = nil)
        async throws(RPCClientError) -> NodeHealth
    {
        let answer = try await client.get("/health", timeoutMilliseconds: timeoutMilliseconds)
        guard answer.status == 200 else { throw .status(client.failure(of: answer)) }
        guard let health = NodeHealth(answer.body) else {
            throw .transport(
                kind: .malformed,
                sentence: "the answer to /health cannot be read; check that the endpoint is a bsfg "
                    + "node")
        }
        return health
    }

    /// Nil unless it is the JSON object of a node.
    package init?(_ body: [UInt8]) {
        guard let tree = try? JSONTree.parse(body), case .object(let members) = tree else {
            return nil
        }
        func text(_ name: String) -> String {
            if case .string(let text)? = members[name] { text } else { "" }
        }
        status = text("status")
        zone = text("zone")
        identity = text("identity")
        release = text("release")
        callerIdentity = text("caller_identity")
        callerRoles = text("caller_roles").split(separator: ",").map(String.init)
        if case .number(let number)? = members["time_unix_ms"] {
            timeUnixMilliseconds = Int64(exactly: number)
        }
        guard !zone.isEmpty else { return nil }
    }
}
