package import Logging
internal import CPlatform
internal import ServiceLifecycle
internal import UnixSignals

/// Runs a node until SIGTERM or SIGINT, or until it cannot go on, then lets it finish what is in
/// flight.
package enum NodeServing {
    private struct NodeRun: Service {
        let node: GatewayNode
        let configuration: NodeConfiguration
        let logger: Logger
        let signals: ReloadSignals
        let ready: @Sendable ([String]) -> Void

        func run() async throws {
            let node = node
            let addresses = try await node.start()
            logger.notice(
                "node started",
                metadata: [
                    "event": "node_started", "release": "\(NodeRelease.name)",
                    "configuration": "\(configuration.directory)", "data": "\(configuration.dataDirectory)",
                    "listeners": "\(addresses.joined(separator: " "))",
                ])
            ready(addresses)
            let signals = signals.signals
            let reloads = Task { for await _ in signals { await node.reload(by: "SIGHUP") } }
            defer { reloads.cancel() }
            let failure = await withTaskGroup(of: NodeError?.self) { group in
                group.addTask {
                    try? await gracefulShutdown()
                    return nil
                }
                group.addTask { await node.failure() }
                defer { group.cancelAll() }
                return await group.next() ?? nil
            }
            await node.stop()
            logger.notice(
                "node stopped",
                metadata: ["event": "node_stopped", "cause": "\(failure?.sentence ?? "it was told to end")"])
            if let failure { throw failure }
        }
    }

    /// Bodies and pages come and go in sizes of megabytes: what they leave behind is not to add up.
    private static let returnedBlockBytes = 512 << 10

    /// Returns after the node has stopped.
    /// - Throws: `NodeError` when it could not start, or stopped by itself.
    /// - Parameters:
    ///   - signals: trapped before the configuration was read.
    ///   - ready: told the addresses once the node listens.
    package static func run(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, reloads signals: ReloadSignals,
        logger: Logger, ready: @escaping @Sendable ([String]) -> Void
    ) async throws {
        bsfg_return_large_blocks(returnedBlockBytes)
        let node = try GatewayNode(configuration, credentials, logger: logger)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    ServiceGroupConfiguration.ServiceConfiguration(
                        service: NodeRun(
                            node: node, configuration: configuration, logger: logger, signals: signals, ready: ready),
                        successTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }
}
