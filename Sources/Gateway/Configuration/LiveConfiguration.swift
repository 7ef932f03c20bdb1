internal import Synchronization

/// The configuration in force. A reload replaces it as a whole; who holds a copy of it for the length of a
/// call sees one configuration from its beginning to its end.
package final class LiveConfiguration: Sendable {
    private final class Snapshot: Sendable {
        let configuration: NodeConfiguration
        let generation: UInt64

        init(_ configuration: NodeConfiguration, _ generation: UInt64) {
            self.configuration = configuration
            self.generation = generation
        }
    }

    private let snapshot: Mutex<Snapshot>

    package init(_ configuration: NodeConfiguration) {
        snapshot = Mutex(Snapshot(configuration, 1))
    }

    package var current: NodeConfiguration { snapshot.withLock { $0 }.configuration }
    /// Rises by one with every reload that changed something.
    package var generation: UInt64 { snapshot.withLock { $0 }.generation }

    package func replace(with configuration: NodeConfiguration) {
        snapshot.withLock { $0 = Snapshot(configuration, $0.generation + 1) }
    }
}
