package import RPC
internal import SwiftProtobuf

/// What a peer would give a first fetch, asked with our node's own certificate: the twin of
/// `POST /v1/fetch`. It makes no cursor and moves nothing on either side.
package struct PeerPreview: Sendable {
    private let client: RPCClient

    /// - Throws: why no connection can be set up; nothing is sent yet.
    package init(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws(NodeError) {
        client = try PeerConnection.client(peer, endpoint, configuration, credentials)
    }

    /// - Returns: a page as people read it, in JSON.
    package func fetch(_ request: Bsfg_Admin_V1_FetchPreviewRequest) async throws(RPCClientError)
        -> [UInt8]
    {
        let body: [UInt8]
        do {
            body = try request.jsonUTF8Bytes()
        } catch {
            preconditionFailure("our own request cannot be encoded: \(error)")
        }
        return try await client.call(Procedure.previewFetch.rawValue, body, codec: .json)
    }

    package func close() async { await client.close() }
}
