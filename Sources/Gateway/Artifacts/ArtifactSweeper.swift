internal import Buffers
internal import Logging
internal import WriteAheadLog

/// Removes now and then what no fact refers to any more. It looks at the logs after it has told the
/// store so, and removes nothing until every reference up to their heads is known: what is appended
/// meanwhile is pinned.
struct ArtifactSweeper: Sendable {
    let configuration: ArtifactConfiguration
    let logs: StreamLogs
    let store: any ArtifactStore
    let follower: ReferenceFollower

    /// Blocks.
    /// - Returns: nil when nothing may be removed now.
    func sweep() throws(ArtifactError) -> ArtifactSweepReport? {
        guard let now = try store.trustedMilliseconds() else { return nil }
        let generation = store.beginSweep()
        let logs = logs.all
        for log in logs
        where follower.position(log) < log.buffer.headOffset && !follower.isWaitingForRoom(log) {
            return nil
        }
        var firstOffsets: [[UInt8]: UInt64] = [:]
        for log in logs { firstOffsets[log.buffer.identifier] = log.buffer.firstOffset }
        return try store.sweep(
            ArtifactSweepRules(
                firstOffsets: firstOffsets,
                usedBefore: now - configuration.retentionMilliseconds,
                unusedBefore: now - configuration.uploadGraceMilliseconds, generation: generation))
    }
}
