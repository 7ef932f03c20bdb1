import RPC
import Testing

@testable import Gateway

/// Long lists are looked at to their end, or not taken for whole.
@Suite("Lists of evidence")
struct ListSummaryTests {
    private static func artifact(_ number: Int, _ state: String, zone: String = "plant-a")
        -> Bsfg_Admin_V1_ArtifactStatus
    {
        var status = Bsfg_Admin_V1_ArtifactStatus()
        (status.zone, status.bucket, status.key, status.state) = (zone, "files", "\(number)", state)
        return status
    }

    /// A node that has these, and pages them as a node does.
    private static func artifacts(_ all: [Bsfg_Admin_V1_ArtifactStatus]) async throws -> ArtifactSummary {
        try await ArtifactSummary.gather { (after) throws(RPCClientError) in
            let from = Int(after).map { $0 + 1 } ?? 0
            var answer = Bsfg_Admin_V1_ListArtifactsResponse()
            answer.artifacts = Array(all[from..<min(all.count, from + Int(PagedList.pageCount))])
            if answer.artifacts.count == Int(PagedList.pageCount) {
                answer.next = "\(from + answer.artifacts.count - 1)"
            }
            return answer
        }
    }

    @Test("An artifact that is missing behind the first 1,000 is found")
    func behindTheFirstPage() async throws {
        var all = (0..<2_500).map { Self.artifact($0, "stored") }
        all[2_400].state = "missing"
        let found = try await Self.artifacts(all)
        #expect(found.isWhole && found.kept.count == 1_000)
        #expect(found.kept.first?.name == "files/2400" && found.kept.first?.state == "missing")
        #expect(found.stored == [NodeEvidence.StoredArtifacts(zone: "plant-a", count: 2_499)])
        let exact = try await Self.artifacts(Array(all[..<1_000]))
        #expect(exact.isWhole && exact.stored.first?.count == 1_000)
    }

    @Test("Artifacts are their deliverer's: of the first log that is pulled and whose facts refer to them")
    func deliverers() async throws {
        func pull(_ peer: String, _ origin: String) -> Bsfg_Admin_V1_PullStatus {
            var pull = Bsfg_Admin_V1_PullStatus()
            (pull.peer, pull.stream, pull.origin) = (peer, "facts", origin)
            return pull
        }
        func artifact(_ number: Int, _ state: String, _ origins: [String]) -> Bsfg_Admin_V1_ArtifactStatus {
            var status = Self.artifact(number, state)
            status.failures = 3
            status.uses = origins.map { origin in
                var use = Bsfg_Admin_V1_ArtifactUse()
                (use.stream, use.origin) = ("facts", origin)
                return use
            }
            return status
        }
        let all = [
            artifact(1, "stored", ["enterprise", "idmz", "plant-a"]), artifact(2, "stored", ["plant-a"]),
            artifact(3, "stored", ["enterprise"]), artifact(4, "missing", ["enterprise", "idmz"]),
            artifact(5, "waiting", []), artifact(6, "missing", ["enterprise"]),
        ]
        let found = try await ArtifactSummary.gather(pulls: [pull("plant-b", "idmz"), pull("plant-a", "plant-a")]) {
            (_) throws(RPCClientError) in
            var answer = Bsfg_Admin_V1_ListArtifactsResponse()
            answer.artifacts = all
            return answer
        }
        #expect(
            found.stored == [nil, "plant-a", "plant-b"].map {
                NodeEvidence.StoredArtifacts(zone: "plant-a", peer: $0, count: 1)
            })
        let absent = found.kept.prefix(3)
        #expect(absent.map(\.failureCount) == [3, 3, 3])
        #expect(
            absent.map(\.uses) == [[NodeEvidence.Artifact.Use(stream: "facts", origin: "idmz")], nil, []])
    }

    @Test("More that are not here than are kept is not everything")
    func tooManyAbsent() async throws {
        let all = (0..<1_001).map { Self.artifact($0, "waiting") }
        #expect(try await Self.artifacts(Array(all[..<1_000])).isWhole)
        #expect(try await Self.artifacts(all).isWhole == false)
    }

    @Test("A list without an end is given up, and is not everything")
    func endless() async throws {
        var pages = 0
        let found = try await ArtifactSummary.gather { (_) throws(RPCClientError) in
            pages += 1
            var answer = Bsfg_Admin_V1_ListArtifactsResponse()
            answer.artifacts = [Self.artifact(pages, "stored")]
            answer.next = "plant-a/files/\(pages)"
            return answer
        }
        #expect(pages == PagedList.pagesMaximum && !found.isWhole)
    }

    @Test("A fact in quarantine behind the first 1,000 is found, each kind once")
    func quarantine() async throws {
        let all = (0..<1_500).map { number in
            var entry = Bsfg_Admin_V1_QuarantinedEntry()
            entry.id = "\(number)"
            entry.stream = "facts.operational"
            entry.origin = number == 1_400 ? "plant-a" : "plant-b"
            entry.reason = "conflict"
            return entry
        }
        func gather(_ count: UInt64) async throws -> QuarantineSummary {
            try await QuarantineSummary.gather { (after) throws(RPCClientError) in
                let from = Int(after).map { $0 + 1 } ?? 0
                var answer = Bsfg_Admin_V1_ListQuarantineResponse()
                answer.entries = Array(all[from..<min(all.count, from + Int(PagedList.pageCount))])
                answer.count = count
                return answer
            }
        }
        let found = try await gather(1_500)
        #expect(found.isWhole && found.kept.map(\.origin) == ["plant-b", "plant-a"])
        // Fewer came than there are: what the next page began behind was gone.
        #expect(try await gather(1_600).isWhole == false)
    }

    private func judged(_ name: String, _ spoil: (inout AcceptanceEvidence) -> Void) -> Criterion? {
        var evidence = AcceptanceFixtures.good
        evidence.theirs?.configuration.append(
            NodeEvidence.Line(key: "peers.enterprise.artifacts", value: "[batch-files]"))
        evidence.plan = FederationPlan(
            ours: FederationSide(evidence.ours), theirs: evidence.theirs.map(FederationSide.init),
            peer: "plant-a")
        evidence.oursAfter?.artifacts = [
            NodeEvidence.Artifact(zone: "plant-a", name: "batch-files/1", state: "stored")
        ]
        spoil(&evidence)
        return HandoffCriteria.judge(evidence).named(name)
    }

    @Test("What was not looked at to its end is not checked")
    func criteria() {
        #expect(judged("artifacts") { _ in }?.verdict == .passed)
        #expect(judged("replay") { _ in }?.verdict == .passed)
        let cut = judged("artifacts") { $0.oursAfter?.unreadLists = [.artifacts] }
        #expect(cut?.verdict == .notChecked && cut?.isBlocking == true)
        #expect(judged("artifacts") { $0.oursAfter?.unreadLists = [.quarantined] }?.verdict == .passed)
        #expect(judged("replay") { $0.oursAfter?.unreadLists = [.quarantined] }?.verdict == .notChecked)
        // Of a release that kept 1,000 and did not say whether that was all.
        let old = judged("artifacts") {
            let one = NodeEvidence.Artifact(zone: "plant-a", name: "batch-files/1", state: "stored")
            $0.oursAfter?.artifacts = Array(repeating: one, count: 1_000)
        }
        #expect(old?.verdict == .notChecked)
        let counted = judged("artifacts") {
            $0.oursAfter?.unreadLists = []
            $0.oursAfter?.storedArtifacts = [
                NodeEvidence.StoredArtifacts(zone: "plant-a", peer: "plant-a", count: 2_499)
            ]
        }
        #expect(counted?.sentence.hasPrefix("2499 artifacts") == true)
    }
}
