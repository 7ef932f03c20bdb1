internal import Facts
internal import Gateway
internal import RPC

/// Reads both logs from the first record to the last and compares them with what was acknowledged.
/// Ids and digests are computed anew from the bytes of every record.
struct DemoProof: Sendable {
    private(set) var acknowledged = 0
    private(set) var inSourceLog = 0
    private(set) var inForwardLog = 0
    private(set) var lost = 0
    private(set) var duplicated = 0
    private(set) var altered = 0
    private(set) var outOfOrder = 0
    /// In the receiver's log and never acknowledged to the producer.
    private(set) var unexpected = 0

    var holds: Bool {
        acknowledged > 0 && lost == 0 && duplicated == 0 && altered == 0 && outOfOrder == 0
            && unexpected == 0 && inSourceLog == acknowledged && inForwardLog == acknowledged
    }

    private struct Place {
        var offset: UInt64
        var contentDigest: Digest
    }

    init(
        acknowledged: [Digest: DemoProducer.Acknowledged], source: ZoneNode, receiver: ZoneNode,
        progress: (Int) async -> Void
    ) async throws {
        self.acknowledged = acknowledged.count
        var stored: [Digest: Place] = [:]
        stored.reserveCapacity(acknowledged.count)
        try await Self.read(source, origin: TwoZoneSite.source) { entry in
            inSourceLog += 1
            guard let key = entry.key, let digest = entry.contentDigest, let offset = entry.offset
            else {
                altered += 1
                return
            }
            if stored.updateValue(Place(offset: offset, contentDigest: digest), forKey: key) != nil
            {
                duplicated += 1
            }
        }
        await progress(inSourceLog)
        var arrived: Set<Digest> = []
        arrived.reserveCapacity(acknowledged.count)
        var before: UInt64?
        try await Self.read(receiver, origin: TwoZoneSite.source) { entry in
            inForwardLog += 1
            guard entry.verdict == .intact, let key = entry.key, let digest = entry.contentDigest,
                let origin = entry.origin?.offset
            else {
                altered += 1
                return
            }
            if let before, origin <= before { outOfOrder += 1 }
            before = origin
            guard arrived.insert(key).inserted else {
                duplicated += 1
                return
            }
            guard let known = acknowledged[key], let place = stored[key] else {
                unexpected += 1
                return
            }
            if known.contentDigest != digest || place.contentDigest != digest
                || known.offset != origin || place.offset != origin
            {
                altered += 1
            }
        }
        for key in acknowledged.keys where !arrived.contains(key) { lost += 1 }
        await progress(inForwardLog)
    }

    private static func read(
        _ node: ZoneNode, origin: String, _ visit: (ReceivedEntry) -> Void
    ) async throws {
        var from: UInt64 = 0
        while true {
            var request = Bsfg_Admin_V1_PeekRequest()
            request.stream = TwoZoneSite.stream
            request.origin = origin
            request.fromOffset = from
            request.limit = 2_000
            let page = try ReceivedPage(try await node.admin.peek(request))
            for entry in page.entries { visit(entry) }
            guard let next = page.nextOffset, let head = page.headOffset else {
                throw CommandFailure(.failure, "\(node.zone) answers a page without its end")
            }
            if next >= head { return }
            guard next > from else {
                throw CommandFailure(.failure, "\(node.zone) cannot read its log at \(from)")
            }
            from = next
        }
    }
}
