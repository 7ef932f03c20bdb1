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
    private var counts: [String: UInt64] = [:]
    private var readToEnd = true
    private var isOverflowing = false

    static func gather(_ client: AdminClient) async throws(RPCClientError) -> ArtifactSummary {
        try await gather { (after) throws(RPCClientError) in
            var request = Bsfg_Admin_V1_ListArtifactsRequest()
            request.after = after
            request.limit = PagedList.pageCount
            return try await client.listArtifacts(request)
        }
    }

    static func gather(
        _ list: (_ after: String) async throws(RPCClientError) -> Bsfg_Admin_V1_ListArtifactsResponse
    ) async throws(RPCClientError) -> ArtifactSummary {
        var summary = ArtifactSummary()
        summary.readToEnd = try await PagedList.visit({ (after) throws(RPCClientError) in
            let answer = try await list(after)
            return (answer.artifacts, answer.next)
        }) { summary.add($0) }
        return summary
    }

    private mutating func add(_ status: Bsfg_Admin_V1_ArtifactStatus) {
        let artifact = NodeEvidence.Artifact(
            zone: status.zone, name: "\(status.bucket)/\(status.key)", state: status.state)
        let maximum = NodeEvidence.listCountMaximum
        if status.state == "stored" {
            counts[status.zone, default: 0] += 1
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
        counts.map { NodeEvidence.StoredArtifacts(zone: $0.key, count: $0.value) }
            .sorted { $0.zone.utf8.lexicographicallyPrecedes($1.zone.utf8) }
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
