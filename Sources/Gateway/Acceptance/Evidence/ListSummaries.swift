internal import RPC

/// Reads a list of a node page by page, to its end or to a bound.
enum PagedList {
    /// Of one list, before it is given up.
    static let pagesMaximum = 100
    static let pageCount: UInt32 = 1_000

    /// - Parameters:
    ///   - page: what comes behind a name, and the name to go on behind; empty at the end.
    ///   - body: sees every entry.
    /// - Returns: whether that was all of it.
    static func visit<Entry>(
        _ page: (String) async throws(RPCClientError) -> (entries: [Entry], next: String),
        _ body: (Entry) -> Void
    ) async throws(RPCClientError) -> Bool {
        var after = ""
        for _ in 0..<pagesMaximum {
            let (entries, next) = try await page(after)
            entries.forEach(body)
            guard !next.isEmpty else { return true }
            after = next
        }
        return false
    }
}

/// All artifacts of a node in little: each that is not here, and how many are.
struct ArtifactSummary {
    private var absent: [NodeEvidence.Artifact] = []
    private var present: [NodeEvidence.Artifact] = []
    /// By zone, and by the peer that delivers the facts that refer to them.
    private var counts: [Stored: UInt64] = [:]
    private var deliverers: [Log: String] = [:]
    private var readToEnd = true
    private var isOverflowing = false

    /// Of one artifact that are kept: the file of evidence has its bound.
    private static let usesMaximum = 4

    private struct Log: Hashable {
        var stream: String
        var origin: String
    }

    private struct Stored: Hashable {
        var zone: String
        var peer: String?
    }

    init(pulls: [Bsfg_Admin_V1_PullStatus] = []) {
        for pull in pulls { deliverers[Log(stream: pull.stream, origin: pull.origin)] = pull.peer }
    }

    static func gather(
        _ client: AdminClient, pulls: [Bsfg_Admin_V1_PullStatus]
    ) async throws(RPCClientError) -> ArtifactSummary {
        try await gather(pulls: pulls) { (after) throws(RPCClientError) in
            var request = Bsfg_Admin_V1_ListArtifactsRequest()
            request.after = after
            request.limit = PagedList.pageCount
            return try await client.listArtifacts(request)
        }
    }

    static func gather(
        pulls: [Bsfg_Admin_V1_PullStatus] = [],
        _ list: (_ after: String) async throws(RPCClientError) -> Bsfg_Admin_V1_ListArtifactsResponse
    ) async throws(RPCClientError) -> ArtifactSummary {
        var summary = ArtifactSummary(pulls: pulls)
        summary.readToEnd = try await PagedList.visit({ (after) throws(RPCClientError) in
            let answer = try await list(after)
            return (answer.artifacts, answer.next)
        }) { summary.add($0) }
        return summary
    }

    private mutating func add(_ status: Bsfg_Admin_V1_ArtifactStatus) {
        let pulled = status.uses.filter { deliverers[Log(stream: $0.stream, origin: $0.origin)] != nil }
        let artifact = NodeEvidence.Artifact(
            zone: status.zone, name: "\(status.bucket)/\(status.key)", state: status.state,
            uses: status.uses.isEmpty
                ? nil
                : pulled.prefix(Self.usesMaximum).map {
                    NodeEvidence.Artifact.Use(stream: $0.stream, origin: $0.origin)
                },
            failureCount: status.failures)
        let maximum = NodeEvidence.listCountMaximum
        if status.state == "stored" {
            let peer = pulled.first.flatMap { deliverers[Log(stream: $0.stream, origin: $0.origin)] }
            counts[Stored(zone: status.zone, peer: peer), default: 0] += 1
            if present.count < maximum { present.append(artifact) }
        } else if absent.count < maximum {
            absent.append(artifact)
        } else {
            isOverflowing = true
        }
    }

    var kept: [NodeEvidence.Artifact] {
        Array((absent + present).prefix(NodeEvidence.listCountMaximum))
    }

    var stored: [NodeEvidence.StoredArtifacts] {
        counts.map { NodeEvidence.StoredArtifacts(zone: $0.key.zone, peer: $0.key.peer, count: $0.value) }
            .sorted {
                guard $0.zone.utf8.elementsEqual($1.zone.utf8) else {
                    return $0.zone.utf8.lexicographicallyPrecedes($1.zone.utf8)
                }
                return ($0.peer ?? "").utf8.lexicographicallyPrecedes(($1.peer ?? "").utf8)
            }
    }

    /// Whether each that is not here is among those kept.
    var isWhole: Bool { readToEnd && !isOverflowing }
}

/// A node's quarantine in little: what is in it of each stream and origin, once for each reason.
struct QuarantineSummary {
    private(set) var kept: [NodeEvidence.Quarantined] = []
    private var known: Set<NodeEvidence.Quarantined> = []
    private var readToEnd = true
    private var isOverflowing = false

    static func gather(_ client: AdminClient) async throws(RPCClientError) -> QuarantineSummary {
        try await gather { (after) throws(RPCClientError) in
            var request = Bsfg_Admin_V1_ListQuarantineRequest()
            request.after = after
            request.limit = PagedList.pageCount
            return try await client.listQuarantine(request)
        }
    }

    static func gather(
        _ list: (_ after: String) async throws(RPCClientError) -> Bsfg_Admin_V1_ListQuarantineResponse
    ) async throws(RPCClientError) -> QuarantineSummary {
        var summary = QuarantineSummary()
        var (seen, count) = (UInt64(0), UInt64(0))
        let isAtEnd = try await PagedList.visit({ (after) throws(RPCClientError) in
            let answer = try await list(after)
            count = answer.count
            let isLast = answer.entries.count < Int(PagedList.pageCount)
            return (answer.entries, isLast ? "" : answer.entries.last?.id ?? "")
        }) {
            seen += 1
            summary.add($0)
        }
        // What it was to go on behind may have been decided meanwhile, and nothing came.
        summary.readToEnd = isAtEnd && seen >= count
        return summary
    }

    private mutating func add(_ entry: Bsfg_Admin_V1_QuarantinedEntry) {
        let quarantined = NodeEvidence.Quarantined(
            stream: entry.stream, origin: entry.origin, reason: entry.reason)
        guard !known.contains(quarantined) else { return }
        guard kept.count < NodeEvidence.listCountMaximum else { return isOverflowing = true }
        known.insert(quarantined)
        kept.append(quarantined)
    }

    var isWhole: Bool { readToEnd && !isOverflowing }
}
