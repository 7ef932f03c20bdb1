/// The last look of an acceptance, which goes on until both have what there was when it began. What producers append
/// and put meanwhile is not waited for, or a pair that works would never be done.
struct LastLook {
    /// What was open when it was looked last, artifacts aside; nil where nothing was.
    private(set) var unsettled: String?
    /// What was not here when all facts of the beginning had come: a missing one is asked for again, and is then on
    /// its way for a moment.
    private(set) var awaited: Set<AwaitedArtifact>?

    mutating func isDone(
        ours: NodeEvidence, theirs: NodeEvidence?, peer: String, upTo heads: Settlement.Heads
    ) -> Bool {
        unsettled = Settlement.unsettled(ours: ours, theirs: theirs, peer: peer, upTo: heads)
        guard unsettled == nil else { return false }
        func artifacts(_ states: Set<String>) -> Set<AwaitedArtifact> {
            Settlement.artifacts(in: states, ours: ours, theirs: theirs, peer: peer)
        }
        let awaited = self.awaited ?? artifacts(Settlement.pendingStates.union(["missing"]))
        self.awaited = awaited
        return artifacts(Settlement.pendingStates).isDisjoint(with: awaited)
    }
}
