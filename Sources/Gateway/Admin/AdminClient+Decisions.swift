internal import Facts
package import RPC

/// What an operator looks up and decides, as a program asks for it.
extension AdminClient {
    package func listQuarantine(_ request: Bsfg_Admin_V1_ListQuarantineRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ListQuarantineResponse
    {
        try await call(.listQuarantine, request)
    }

    package func showQuarantine(_ request: Bsfg_Admin_V1_ShowQuarantineRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ShowQuarantineResponse
    {
        try await call(.showQuarantine, request)
    }

    package func retryQuarantine(_ request: Bsfg_Admin_V1_RetryQuarantineRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_RetryQuarantineResponse
    {
        try await call(.retryQuarantine, request)
    }

    package func discardQuarantine(_ request: Bsfg_Admin_V1_DiscardQuarantineRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_DiscardQuarantineResponse
    {
        try await call(.discardQuarantine, request)
    }

    package func resolveQuarantine(_ request: Bsfg_Admin_V1_ResolveQuarantineRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_ResolveQuarantineResponse
    {
        try await call(.resolveQuarantine, request)
    }

    package func acceptHistory(_ request: Bsfg_Admin_V1_AcceptHistoryRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_AcceptHistoryResponse
    {
        try await call(.acceptHistory, request)
    }

    package func deleteConsumer(_ request: Bsfg_Admin_V1_DeleteConsumerRequest)
        async throws(RPCClientError) -> Bsfg_Admin_V1_DeleteConsumerResponse
    {
        try await call(.deleteConsumer, request)
    }

    /// - Returns: the bytes of a `FetchFactsResponse`.
    package func getFact(_ request: Bsfg_Admin_V1_GetFactRequest) async throws(RPCClientError)
        -> [UInt8]
    {
        try await send(.getFact, request)
    }

    /// - Returns: the bytes of a `FetchFactsResponse`.
    package func queryFacts(_ request: Bsfg_Admin_V1_QueryFactsRequest)
        async throws(RPCClientError) -> [UInt8]
    {
        try await send(.queryFacts, request)
    }
}
