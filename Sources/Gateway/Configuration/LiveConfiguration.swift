internal import Synchronization

/// The configuration in force. A reload replaces it as a whole; who holds a snapshot of it for the length of
/// a call sees one configuration from its beginning to its end.
package final class LiveConfiguration: Sendable {
    /// A class, since a call asks several times, and a copy of all lists and texts each time would cost more
    /// than the answers.
    package final class Snapshot: Sendable {
        package let configuration: NodeConfiguration
        /// Every zone that a fact may come from or go to.
        package let knownZones: [String]
        fileprivate let generation: UInt64

        fileprivate init(_ configuration: NodeConfiguration, _ generation: UInt64) {
            self.configuration = configuration
            self.generation = generation
            knownZones = configuration.knownZones
        }
    }

    private let held: Mutex<Snapshot>

    package init(_ configuration: NodeConfiguration) {
        held = Mutex(Snapshot(configuration, 1))
    }

    package var snapshot: Snapshot { held.withLock { $0 } }
    package var current: NodeConfiguration { snapshot.configuration }
    /// Rises by one with every reload that changed something.
    package var generation: UInt64 { snapshot.generation }

    package func replace(with configuration: NodeConfiguration) {
        held.withLock { $0 = Snapshot(configuration, $0.generation + 1) }
    }
}
