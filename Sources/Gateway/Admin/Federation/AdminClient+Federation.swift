internal import Facts
package import RPC
internal import SwiftProtobuf

/// The twin of `FederationAdministration`.
extension AdminClient {
    package func listGates() async throws(RPCClientError) -> Bsfg_Admin_V1_ListGatesResponse {
        try await call(.listGates, Bsfg_Admin_V1_ListGatesRequest())
    }

    /// Returns once no page of the peer is in flight.
    package func partition(_ request: Bsfg_Admin_V1_PartitionRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_PartitionResponse
    {
        try await call(.partition, request)
    }

    package func reconcile(_ request: Bsfg_Admin_V1_ReconcileRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ReconcileResponse
    {
        try await call(.reconcile, request)
    }

    package func startPeer(_ request: Bsfg_Admin_V1_StartPeerRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_StartPeerResponse
    {
        try await call(.startPeer, request)
    }

    package func reload() async throws(RPCClientError) -> Bsfg_Admin_V1_ReloadResponse {
        try await call(.reload, Bsfg_Admin_V1_ReloadRequest())
    }

    package func showConfiguration() async throws(RPCClientError)
        -> Bsfg_Admin_V1_ShowConfigurationResponse
    {
        try await call(.showConfiguration, Bsfg_Admin_V1_ShowConfigurationRequest())
    }

    package func listRefusals(_ request: Bsfg_Admin_V1_ListRefusalsRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ListRefusalsResponse
    {
        try await call(.listRefusals, request)
    }
}
