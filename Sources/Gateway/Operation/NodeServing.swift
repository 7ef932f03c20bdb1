package import Logging
internal import ServiceLifecycle
internal import UnixSignals

/// Runs a node until SIGTERM or SIGINT, then lets it finish what is in flight.
package enum NodeServing {
    private struct NodeRun: Service {
        let node: GatewayNode
        let ready: @Sendable ([String]) -> Void

        func run() async throws {
            ready(try await node.start())
            try? await gracefulShutdown()
            await node.stop()
        }
    }

    /// Returns after the node has stopped.
    /// - Parameter ready: told the addresses once the node listens.
    package static func run(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, logger: Logger,
        ready: @escaping @Sendable ([String]) -> Void
    ) async throws {
        let node = try GatewayNode(configuration, credentials, logger: logger)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    ServiceGroupConfiguration.ServiceConfiguration(
                        service: NodeRun(node: node, ready: ready),
                        successTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }
}
