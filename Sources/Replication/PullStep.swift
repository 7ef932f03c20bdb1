/// The steps of a pull at which a test may stop the process: what came before is done, what comes after
/// is not.
package enum PullStep: String, Sendable, CaseIterable {
    /// A page has come and nothing of it is durable.
    case received
    /// What can never be materialised is durable in quarantine, its page is not committed.
    case quarantined
    /// A page and the position are durable, nothing of it is confirmed.
    case committed
    /// The source has answered a confirm and nobody here knows it yet.
    case confirmSent = "confirm_sent"
}
