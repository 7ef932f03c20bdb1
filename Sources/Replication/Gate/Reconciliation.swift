/// What has to be caught up with after a reconnection: for each stream the head of that moment. Ends when
/// every stream has reached its own; a blocked stream keeps it open and is named.
package struct Reconciliation: Sendable, Equatable {
    private struct Item: Sendable, Equatable {
        /// Nil until the source has said where it ends.
        var headOffset: UInt64?
        var isReached = false
        /// Why the stream cannot go on; nil while it can.
        var blocked: String?
    }

    private var items: [GateStream: Item]

    package init(_ streams: [GateStream]) {
        items = Dictionary(streams.map { ($0, Item()) }, uniquingKeysWith: { first, _ in first })
    }

    package var isComplete: Bool { items.values.allSatisfy(\.isReached) }

    /// The streams that hold the gate up, in order, with why those that are blocked are.
    package var open: [(stream: GateStream, blocked: String?)] {
        items.filter { !$0.value.isReached }.sorted { $0.key < $1.key }
            .map { ($0.key, $0.value.blocked) }
    }

    /// Streams may come and go with the configuration. What was reached stays so.
    package mutating func keep(_ streams: [GateStream]) {
        let known = items
        items = [:]
        for stream in streams { items[stream] = known[stream] ?? Item() }
    }

    /// Where a stream stands and where its source ends: counts once, at the reconnection.
    package mutating func compare(_ stream: GateStream, local: UInt64, peer: UInt64) -> [GateAction] {
        guard var item = items[stream], item.headOffset == nil else { return [] }
        item.headOffset = peer
        item.isReached = local >= peer
        items[stream] = item
        var actions = [GateAction.compared(stream, local: local, peer: peer)]
        if local < peer {
            actions.append(.backfillRequired(stream, facts: peer - local))
            actions.append(.replayInitiated(stream, from: local))
        }
        return actions
    }

    package mutating func progress(_ stream: GateStream, offset: UInt64, blocked: String?)
        -> [GateAction]
    {
        guard var item = items[stream], !item.isReached else { return [] }
        item.blocked = blocked
        guard let head = item.headOffset, offset >= head else {
            items[stream] = item
            return []
        }
        item.isReached = true
        item.blocked = nil
        items[stream] = item
        return [.cursorAdvanced(stream, to: head)]
    }
}
