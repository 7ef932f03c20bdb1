/// Where facts go that cannot be materialised, until an operator decides about each. Durable, with a
/// capacity of its own: a full quarantine blocks the streams that need it and loses nothing.
package protocol Quarantine: AnyObject, Sendable {
    var size: QuarantineSize { get }

    /// Makes facts durable, all or none; one whose identifier is there stays as it is. Blocks.
    /// - Returns: those that were not there before.
    /// - Throws: `full` when there is no room for them; `stopped`, `outcomeUnknown`.
    @discardableResult
    func put(_ facts: [QuarantinedFact]) throws(BufferError) -> [QuarantinedFact]

    /// Nil when there is none of this identifier. Blocks.
    func fact(_ identifier: QuarantineIdentifier) throws(BufferError) -> QuarantinedFact?

    /// Gives the facts to `visit`, oldest first, until it answers false. Blocks.
    func visit(_ visit: (QuarantinedFact) -> Bool) throws(BufferError)

    /// Forgets a fact that was decided about, durably; false when there is none. Blocks.
    func remove(_ identifier: QuarantineIdentifier) throws(BufferError) -> Bool
}

/// How much a quarantine holds.
package struct QuarantineSize: Sendable, Equatable {
    package var count = 0
    /// Of facts that wait for a decision, with what is kept about them.
    package var bytes: UInt64 = 0
    package var capacityBytes: UInt64
    /// How many facts it takes at most, whatever their size.
    package static let countMaximum = 10_000

    package init(capacityBytes: UInt64) { self.capacityBytes = capacityBytes }

    func checkRoom(count more: Int, bytes moreBytes: UInt64) throws(BufferError) {
        guard count + more <= QuarantineSize.countMaximum, bytes + moreBytes <= capacityBytes else {
            throw BufferError(
                .full,
                "the quarantine holds \(count) facts in \(bytes) bytes and takes no more; decide "
                    + "about some with bsfg quarantine list", fill: Double(bytes)
                    / Double(capacityBytes), retryAfterMilliseconds: 5_000)
        }
    }
}
