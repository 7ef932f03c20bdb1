import Glibc
import Testing

@testable import Gateway

/// The handoff criteria over evidence: the good pair passes, and one lie fails exactly one criterion.
@Suite("Handoff criteria")
struct HandoffCriteriaTests {
    private func failed(_ evidence: AcceptanceEvidence) -> [String] {
        HandoffCriteria.judge(evidence).filter { $0.verdict == .failed }.map(\.name)
    }

    @Test("A good pair meets every criterion but alerts, which this release does not serve")
    func good() {
        let criteria = HandoffCriteria.judge(AcceptanceFixtures.good)
        #expect(criteria.map(\.name) == HandoffCriteria.names)
        #expect(criteria.filter(\.isBlocking).map(\.name) == ["alerts"])
        #expect(criteria.named("artifacts")?.verdict == .notChecked)
    }

    /// What one of two nodes, or the way between them, does wrong, and the criterion that it breaks.
    enum Lie: String, CaseIterable {
        case wrongAuthority, anotherZone, noPeerThere, clockSkew, ungrantedStream, servesUngranted
        case wiped, forgetsItsCursor, confirmsBeforeItAppends, goesBack, appendsAgain, doesNotReplay
        case drainsThroughThePartition, isServedThroughThePartition, replacesItsLog, doesNotRecover
        case takesNothingAlone, missingArtifact, doesNotSayWhy, servesAltered, neverHearsOfConfirms
        case letsStrangersIn, isDegraded, hasAFullLog, hasAStoppedLog, expiresSoon, standsStill

        var criterion: String {
            switch self {
            case .wrongAuthority, .anotherZone, .noPeerThere: "authentication"
            case .clockSkew: "clocks"
            case .isDegraded, .hasAFullLog, .hasAStoppedLog, .expiresSoon: "peer_health"
            case .letsStrangersIn: "denials"
            case .ungrantedStream, .servesUngranted: "authorization"
            case .servesAltered: "replay"
            case .wiped, .forgetsItsCursor, .confirmsBeforeItAppends, .goesBack, .neverHearsOfConfirms,
                .standsStill:
                "cursor"
            case .appendsAgain, .doesNotReplay: "duplicate_replay"
            case .drainsThroughThePartition, .isServedThroughThePartition, .replacesItsLog,
                .doesNotRecover, .takesNothingAlone:
                "partition_recovery"
            case .missingArtifact: "artifacts"
            case .doesNotSayWhy: "init_documented"
            }
        }

        func spoil(_ evidence: inout AcceptanceEvidence) {
            switch self {
            case .wrongAuthority:
                evidence.reach = PeerReach(steps: [
                    PeerReach.Step(name: "tls", isGood: false, sentence: "unknown CA")
                ])
            case .anotherZone: evidence.reach.zone = "plant-b"
            case .noPeerThere: evidence.reach.roles = []
            case .clockSkew: evidence.reach.clockMilliseconds = -90_000
            case .ungrantedStream:
                block(&evidence, "stream_not_granted")
            case .servesUngranted: evidence.denials[0].verdict = .allowed
            case .letsStrangersIn:
                evidence.denials[evidence.denials.count - 1].verdict = .allowed
            case .isDegraded: evidence.reach.state = "degraded"
            case .hasAFullLog: evidence.theirsAfter?.logs[1].isAlarmed = true
            case .hasAStoppedLog: evidence.theirsAfter?.logs[0].state = "stopped: no space"
            // 29 days after the evidence was taken.
            case .expiresSoon: evidence.reach.certificateNotAfter = 1_700_000_000 + 30 * 86_400 - 1
            case .standsStill:
                evidence.oursAfter?.pulls[0].nextOffset = 5
                evidence.theirsAfter?.readers[0].nextOffset = 5
            case .wiped: block(&evidence, "history_mismatch")
            case .forgetsItsCursor: evidence.theirsAfter?.readers = []
            case .confirmsBeforeItAppends: evidence.theirsAfter?.readers[0].nextOffset = 99
            case .servesAltered:
                evidence.oursAfter?.quarantined = [
                    NodeEvidence.Quarantined(
                        stream: AcceptanceFixtures.stream, origin: "plant-a", reason: "digest_mismatch")
                ]
            case .neverHearsOfConfirms:
                evidence.theirsAfter?.readers[0].nextOffset = 1
                evidence.partition?.isSettledAfter = false
            case .goesBack: evidence.oursAfter?.pulls[0].nextOffset = 4
            case .appendsAgain: evidence.replays[0].headAfter = 16
            case .doesNotReplay: evidence.replays[0].after = evidence.replays[0].before
            case .drainsThroughThePartition: evidence.partition?.during?.readers[0].nextOffset = 13
            case .isServedThroughThePartition: evidence.partition?.during?.logs[1].headOffset = 6
            case .replacesItsLog: evidence.partition?.peerAfter?.logs[0].identifier = "another"
            case .doesNotRecover: evidence.partition?.isSettledAfter = false
            case .takesNothingAlone: evidence.partition?.ownAppends?.count = 1
            case .missingArtifact:
                evidence.theirs?.configuration.append(
                    NodeEvidence.Line(key: "peers.enterprise.artifacts", value: "[batch-files]"))
                evidence.plan = FederationPlan(
                    ours: FederationSide(evidence.ours),
                    theirs: evidence.theirs.map(FederationSide.init), peer: "plant-a")
                evidence.oursAfter?.artifacts = [
                    NodeEvidence.Artifact(zone: "plant-a", name: "batch-files/1", state: "missing")
                ]
            case .doesNotSayWhy:
                for index in evidence.ours.configuration.indices
                where evidence.ours.configuration[index].key.hasSuffix("init_mode") {
                    evidence.ours.configuration[index].value = "full_backfill"
                }
                evidence.plan = FederationPlan(
                    ours: FederationSide(evidence.ours),
                    theirs: evidence.theirs.map(FederationSide.init), peer: "plant-a")
            }
        }

        private func block(_ evidence: inout AcceptanceEvidence, _ reason: String) {
            evidence.oursAfter?.pulls[0].state = "blocked"
            evidence.oursAfter?.pulls[0].reason = reason
        }
    }

    @Test("One lie fails exactly its criterion", arguments: Lie.allCases)
    func lie(_ lie: Lie) {
        var evidence = AcceptanceFixtures.good
        lie.spoil(&evidence)
        #expect(failed(evidence) == [lie.criterion])
    }

    @Test("What was not done is not checked, and stands in the way where it is required")
    func notChecked() {
        var evidence = AcceptanceFixtures.good
        evidence.partition = nil
        evidence.replays = []
        evidence.denials = []
        let open = HandoffCriteria.judge(evidence).filter(\.isBlocking).map(\.name)
        #expect(
            open == [
                "authorization", "denials", "cursor", "duplicate_replay", "partition_recovery", "visibility",
                "alerts", "replay_drill",
            ])
    }

    @Test("Without the other side nothing of it passes")
    func oneSide() {
        var evidence = AcceptanceFixtures.good
        evidence.theirs = nil
        evidence.theirsAfter = nil
        evidence.plan = FederationPlan(
            ours: FederationSide(evidence.ours), theirs: nil, peer: "plant-a")
        for name in ["peer_health", "cursor", "visibility", "init_documented", "matrix_documented"] {
            #expect(HandoffCriteria.judge(evidence).named(name)?.verdict == .notChecked, "\(name)")
        }
    }

    @Test("Each denial has to be seen: without one the peer is not known to refuse")
    func everyDenial() {
        for (name, criterion) in Denial.grantCases(isPulling: true).map({ ($0, "authorization") })
            + Denial.callerCases.map({ ($0, "denials") })
        {
            for spoil in [
                { (denials: inout [Denial]) in denials.removeAll { $0.name == name } },
                { denials in
                    for index in denials.indices where denials[index].name == name {
                        denials[index].verdict = .notChecked
                        denials[index].sentence = "nobody was asked"
                    }
                },
            ] {
                var evidence = AcceptanceFixtures.good
                spoil(&evidence.denials)
                let open = HandoffCriteria.judge(evidence).filter { $0.isBlocking && $0.name != "alerts" }
                #expect(open.map(\.name).first == criterion, "\(name)")
                #expect(open.first?.verdict == .notChecked && open.first?.sentence.contains(name) == true)
            }
        }
        // A peer from which nothing is pulled has no origin of a granted stream to refuse.
        #expect(!Denial.grantCases(isPulling: false).contains("ungranted_origin"))
    }

    @Test("A cursor that was not compared, or a position that nothing moved, is not checked")
    func cursorNotChecked() {
        let spoils: [(String, (inout AcceptanceEvidence) -> Void)] = [
            ("a file of plant-a", { $0.theirsAfter = nil }),
            // Since it was written plant-a took more and told us so.
            (
                "a file of plant-a",
                {
                    $0.theirsAfter = nil
                    $0.ours.readers[0].nextOffset = 13
                }
            ),
            (
                "not seen",
                {
                    $0.theirsAfter = nil
                    $0.theirs = nil
                }
            ),
            ("no position was seen to rise", { $0.partition = nil }),
            (
                "no position was seen to rise",
                {
                    $0.partition?.ownAppends?.stream = "another"
                    $0.partition?.peerAppends = nil
                }
            ),
            (
                "nothing of",
                {
                    // A pull that begins at the head has a position before it has a fact.
                    $0.theirsAfter?.logs[1].headOffset = 0
                    $0.partition?.isSettledAfter = false
                }
            ),
            (
                "still has something to tell",
                {
                    $0.partition?.isSettledAfter = false
                    $0.theirsAfter?.logs[0].headOffset = 9
                }
            ),
        ]
        for (words, spoil) in spoils {
            var evidence = AcceptanceFixtures.good
            spoil(&evidence)
            let cursor = HandoffCriteria.judge(evidence).named("cursor")
            #expect(cursor?.verdict == .notChecked && cursor?.isBlocking == true, "\(words)")
            #expect(cursor?.sentence.contains(words) == true, "\(cursor?.sentence ?? "")")
        }
        let passed = HandoffCriteria.judge(AcceptanceFixtures.good).named("cursor")?.sentence ?? ""
        #expect(passed.contains("each source's cursor stands where") && passed.contains("rose by"))
    }

    @Test("A peer that is not healthy is the one thing that is said: what follows from it is not judged")
    func unhealthyPeer() {
        var evidence = AcceptanceFixtures.good
        evidence.reach.state = "degraded"
        evidence.partition?.peerAppends?.count = 0
        #expect(failed(evidence) == ["peer_health"])
        #expect(
            HandoffCriteria.judge(evidence).named("partition_recovery")?.sentence
                == "peer_health failed, and this presumes it")
    }

    @Test("What a node does not show is not visible")
    func visibility() {
        let spoils: [(String, (inout AcceptanceEvidence) -> Void)] = [
            ("does not show how far", { $0.oursAfter?.pulls[0].sourceHeadOffset = nil }),
            ("plant-a does not show how far", { $0.theirsAfter?.pulls[0].sourceHeadOffset = nil }),
            ("plant-a does not show the backlog", { $0.theirsAfter?.readers = [] }),
            ("enterprise does not show the backlog", { $0.oursAfter?.readers = [] }),
            ("plant-a does not say whom it refused", { $0.theirsAfter?.refusals = nil }),
            ("enterprise does not say whom it refused", { $0.oursAfter?.refusals = nil }),
            ("3 callers were refused, and plant-a shows 2", { $0.theirsAfter?.refusedCount = 4 }),
            ("3 callers were refused, and plant-a shows 0", { $0.theirsAfter?.refusedCount = 0 }),
            ("nobody was refused in this run", { $0.denials = [] }),
            (
                "before anybody was refused",
                {
                    $0.theirsAfter = nil
                    $0.theirs?.refusedCount = 0
                }
            ),
            (
                "neither side pulls",
                {
                    $0.oursAfter?.pulls = []
                    $0.theirsAfter?.pulls = []
                }
            ),
        ]
        for (words, spoil) in spoils {
            var evidence = AcceptanceFixtures.good
            spoil(&evidence)
            let visibility = HandoffCriteria.judge(evidence).named("visibility")
            #expect(visibility?.verdict == .notChecked, "\(words)")
            #expect(visibility?.sentence.contains(words) == true, "\(visibility?.sentence ?? "")")
        }
    }

    @Test("A waiver needs something to waive, keeps its reason, and a report counts it")
    func waivers() {
        let signOffs = AcceptanceReport.requiredRoles.map {
            AcceptanceReport.SignOff(role: $0, name: "Ada")
        }
        func report(_ waivers: [String], _ signOffs: [AcceptanceReport.SignOff]) -> AcceptanceReport {
            AcceptanceReport(
                zone: "enterprise", peer: "plant-a", signedBy: "00", takenAt: "2026-01-01T00:00:00Z",
                approval: nil, preconditions: [], handoff: AcceptanceFixtures.good,
                waivers: waivers.map { AcceptanceReport.Waiver(criterion: $0, reason: "not yet") },
                signOffs: signOffs)
        }
        #expect(!report([], signOffs).isAccepted)
        #expect(!report(["alerts"], []).isAccepted)
        let accepted = report(["alerts", "cursor"], signOffs)
        #expect(accepted.isAccepted)
        #expect(accepted.criteria.named("alerts")?.waiver == "not yet")
        #expect(accepted.criteria.named("cursor")?.verdict == .passed)
        #expect(accepted.markdown.contains("| 9 | alerts | waived |"))
    }

    @Test("A precondition that fails halts: nothing after it is judged")
    func halts() {
        let report = AcceptanceReport(
            zone: "enterprise", peer: "plant-a", signedBy: "00", takenAt: "2026-01-01T00:00:00Z",
            approval: nil,
            preconditions: [.failed("validity", "3.3", "it expired")], handoff: nil, waivers: [],
            signOffs: [])
        #expect(report.criteria.filter { $0.verdict == .failed }.map(\.name) == ["validity"])
        #expect(report.criteria.named("authentication")?.verdict == .notChecked)
        #expect(!report.isAccepted)
    }

    @Test("What a file of evidence or a clock says beyond all measure ends no command")
    func beyondAllMeasure() {
        var evidence = AcceptanceFixtures.good
        for index in evidence.ours.logs.indices {
            evidence.ours.logs[index].headOffset = .max
            evidence.theirs?.logs[index].headOffset = .max
            evidence.oursAfter?.logs[index].headOffset = .max
            evidence.theirsAfter?.logs[index].headOffset = .max
        }
        let replay = HandoffCriteria.judge(evidence).named("replay")
        #expect(replay?.verdict == .passed)
        #expect(replay?.sentence.contains("\(UInt64.max) are here") == true)

        #expect(PeerLink.clockMilliseconds(theirs: 1_012, ours: 1_000) == 12)
        #expect(PeerLink.clockMilliseconds(theirs: .min, ours: 1_000) == .min)
        #expect(PeerLink.clockMilliseconds(theirs: .max, ours: -1) == .max)
        evidence.reach.clockMilliseconds = .min
        #expect(HandoffCriteria.judge(evidence).named("clocks")?.verdict == .failed)
    }

    @Test("Evidence survives its file")
    func evidenceFile() throws {
        let node = AcceptanceFixtures.node("enterprise", "plant-a", own: 3, received: 2)
        let path = "/tmp/evidence-\(UInt64.random(in: 0...UInt64.max)).json"
        defer { unlink(path) }
        try CertificateFiles.write(try node.json(), to: path, mode: 0o600, force: false)
        #expect(try NodeEvidence.read(file: path) == node)
        try CertificateFiles.write(Array("{}".utf8), to: path, mode: 0o600, force: true)
        #expect(throws: (any Error).self) { try NodeEvidence.read(file: path) }
    }
}
