import Testing

@testable import Gateway

@Suite("Federation plan and preflight")
struct PreflightAndPlanTests {
    private func side(
        _ zone: String, _ peer: String, _ change: (inout [NodeEvidence.Line]) -> Void = { _ in }
    ) -> FederationSide {
        var lines = AcceptanceFixtures.lines(zone, peer)
        change(&lines)
        return FederationSide(lines: lines)
    }

    private func set(_ key: String, _ value: String) -> (inout [NodeEvidence.Line]) -> Void {
        { lines in
            for index in lines.indices where lines[index].key == key { lines[index].value = value }
        }
    }

    @Test("Lines of a configuration are read back, points in names included")
    func lines() {
        let side = FederationSide(lines: AcceptanceFixtures.lines("enterprise", "plant.a"))
        #expect(side.peers.map(\.id) == ["plant.a"])
        #expect(side.peers[0].streams == ["facts.operational"])
        #expect(side.peers[0].artifacts == [])
        #expect(side.pulls.map(\.origin) == ["plant.a"])
        #expect(side.profile(of: "facts.operational") == "standard")
    }

    @Test("Two sides that fit have nothing missing")
    func fits() {
        let plan = FederationPlan(
            ours: side("enterprise", "plant-a"), theirs: side("plant-a", "enterprise"), peer: "plant-a")
        #expect(plan.problems == [])
        #expect(plan.flows.map(\.isGranted) == [true, true])
        #expect(plan.grants.count == 2)
    }

    @Test("What is missing is named on the side that has to change")
    func missing() {
        func problem(
            _ ours: FederationSide, _ theirs: FederationSide
        ) -> FederationPlan.Problem? {
            FederationPlan(ours: ours, theirs: theirs, peer: "plant-a").problems.first
        }
        let (ours, theirs) = (side("enterprise", "plant-a"), side("plant-a", "enterprise"))
        let cases: [(FederationSide, FederationSide, String)] = [
            (side("enterprise", "plant-b"), theirs, "enterprise"),
            (ours, side("plant-a", "plant-b"), "plant-a"),
            (ours, side("plant-a", "enterprise", set("peers.enterprise.streams", "[]")), "plant-a"),
            (ours, side("plant-a", "enterprise", set("peers.enterprise.origins", "[idmz]")), "plant-a"),
            (ours, side("plant-a", "enterprise", set("peers.enterprise.authorized", "false")), "plant-a"),
            (ours, side("plant-a", "enterprise", set("identity", "other")), "enterprise"),
            (side("enterprise", "plant-a", set("peers.plant-a.endpoint", "none")), theirs, "enterprise"),
            (
                side("enterprise", "plant-a", set("streams.facts.operational.profile", "sil_strict")), theirs,
                "enterprise"
            ),
        ]
        for (ours, theirs, zone) in cases {
            #expect(problem(ours, theirs)?.zone == zone, "\(ours) \(theirs)")
        }
    }

    // MARK: - Preflight

    private var good: PreflightEvidence {
        var evidence = PreflightEvidence(
            peer: "plant-a", now: 1_700_000_000,
            plan: FederationPlan(
                ours: side("enterprise", "plant-a"), theirs: nil, peer: "plant-a"))
        evidence.certificate = PreflightEvidence.Certificate(
            file: "server.crt", notBefore: 1_699_000_000, notAfter: 1_730_000_000,
            usages: ["serverAuth", "clientAuth"], chainProblem: nil, revocation: .unknown("no CRL"), serial: "01")
        evidence.anchors = ["'ca'"]
        evidence.node = AcceptanceFixtures.node("enterprise", "plant-a", own: 1, received: 1)
        evidence.node?.certificate = NodeEvidence.OwnCertificate(serial: "01", refusedFiles: "", problem: "")
        evidence.freeBytes = 100
        evidence.neededBytes = 100
        evidence.reach = AcceptanceFixtures.reach
        return evidence
    }

    @Test("A good side has nothing in its way; what was not looked at says so")
    func passes() {
        let criteria = PreflightCriteria.judge(good)
        #expect(criteria.map(\.name) == PreflightCriteria.names)
        #expect(criteria.filter(\.isBlocking) == [])
        #expect(
            criteria.filter { $0.verdict == .notChecked }.map(\.name)
                == ["crl", "ocsp", "clock", "approval", "disk_test"])
    }

    @Test("Each thing that is wrong fails exactly its criterion, with what puts it right")
    func fails() {
        let cases: [(String, (inout PreflightEvidence) -> Void)] = [
            ("certificate", { $0.credentialsProblem = "not the key" }),
            ("certificate", { $0.certificate?.serial = "02" }),
            ("certificate", { $0.node?.certificate?.refusedFiles = "server.crt: not the key" }),
            ("certificate", { $0.node?.certificate?.problem = "it was revoked" }),
            ("chain", { $0.certificate?.chainProblem = "no issuer" }),
            ("usage", { $0.certificate?.usages = ["serverAuth"] }),
            ("validity", { $0.certificate?.notAfter = 1_700_000_000 }),
            ("validity", { $0.certificate?.notAfter = 1_700_000_000 + 29 * 86_400 }),
            ("validity", { $0.certificate?.notBefore = 1_700_000_001 }),
            ("key_mode", { $0.keyExposure = "run chmod 600 server.key" }),
            ("anchors", { $0.anchors = [] }),
            (
                "crl",
                {
                    $0.revocations = [
                        PreflightEvidence.RevocationFile(file: "ca.crl", nextUpdate: 1_700_000_000)
                    ]
                }
            ),
            ("crl", { $0.certificate?.revocation = .revoked("it was revoked") }),
            ("node", { $0.node = nil }),
            ("node", { $0.node?.logs[0].state = "stopped: no space" }),
            ("disk", { $0.freeBytes = 99 }),
            ("disk_test", { $0.diskSuspicions = ["too fast"] }),
            (
                "endpoint",
                { $0.reach?.steps[1] = PeerReach.Step(name: "tcp", isGood: false, sentence: "refused") }
            ),
            ("endpoint", { $0.reach?.zone = "plant-b" }),
            ("endpoint", { $0.reach?.state = "degraded" }),
            ("endpoint", { $0.reach?.certificateNotAfter = 1_700_000_000 + 30 * 86_400 - 1 }),
        ]
        for (name, spoil) in cases {
            var evidence = good
            spoil(&evidence)
            let failed = PreflightCriteria.judge(evidence).filter { $0.verdict == .failed }
            #expect(failed.map(\.name) == [name])
        }
    }

    @Test("A certificate that the running node does not show is not accepted")
    func notInForce() throws {
        func judged(_ spoil: (inout PreflightEvidence) -> Void) throws -> Criterion {
            var evidence = good
            spoil(&evidence)
            return try #require(PreflightCriteria.judge(evidence).named("certificate"))
        }
        let other = try judged { $0.node?.certificate?.serial = "02" }
        #expect(other.sentence.contains("serial number 02, server.crt has 01"), "\(other.sentence)")
        #expect(other.command == "bsfg config reload")
        let moved = try judged {
            $0.node?.certificate?.serial = "02"
            $0.restartKeys = ["tls.certificate"]
        }
        #expect(moved.command == "bsfg config diff, then restart the node")
        let silent = try judged { $0.node?.certificate = nil }
        #expect(silent.verdict == .notChecked && silent.isBlocking)
    }

    @Test("CRLs say something of our certificate only where one is of its CA")
    func ownRevocation() throws {
        var evidence = good
        evidence.revocations = [PreflightEvidence.RevocationFile(file: "ca.crl", nextUpdate: 1_700_000_001)]
        let open = try #require(PreflightCriteria.judge(evidence).named("crl"))
        #expect(open.verdict == .notChecked && open.sentence.contains("is not known: no CRL"))
        evidence.certificate?.revocation = .good
        #expect(PreflightCriteria.judge(evidence).named("crl")?.verdict == .passed)
        evidence.certificate?.revocation = .revoked("it was revoked at noon")
        #expect(PreflightCriteria.judge(evidence).named("crl")?.sentence == "it was revoked at noon")
        // A list that is out of date still revokes.
        evidence.revocations[0].nextUpdate = 0
        #expect(PreflightCriteria.judge(evidence).named("crl")?.sentence == "it was revoked at noon")
    }

    @Test("A peer that is not healthy itself is a finding")
    func unhealthyPeer() {
        var evidence = good
        evidence.reach?.state = "degraded"
        let found = PeerDiagnosis.diagnose(
            PreflightCriteria.judge(evidence), reach: evidence.reach, node: evidence.node, plan: evidence.plan)
        #expect(found.count == 1 && found.first?.finding.contains("'degraded'") == true, "\(found)")
    }

    @Test("gateway decision 38: what the refuser noted stands beside what the refused saw")
    func refusals() throws {
        var evidence = good
        evidence.reach?.steps = [PeerReach.Step(name: "tls", isGood: false, sentence: "alert 48")]
        evidence.reach?.refusal = AcceptanceFixtures.refusal("no_matching_identity", of: "cn:enterprise-bsfg")
        let endpoint = try #require(PreflightCriteria.judge(evidence).named("endpoint"))
        #expect(
            endpoint.sentence
                == "tls: alert 48; the other side noted no_matching_identity at 2023-11-14T22:13:20Z of "
                + "cn:enterprise-bsfg (SHA-256 ab) from 192.0.2.1: nobody")
        let found = PeerDiagnosis.diagnose(
            PreflightCriteria.judge(evidence), reach: evidence.reach, node: evidence.node,
            plan: evidence.plan)
        #expect(found.map(\.finding) == [endpoint.sentence])
    }

    @Test("Whom we refused in the peer's name is named while its gate is not normal")
    func refusedHere() {
        var node = AcceptanceFixtures.node("enterprise", "plant-a", own: 1, received: 1)
        node.lastRefusals = [
            AcceptanceFixtures.refusal("unknown_ca", of: "cn:plant-a-bsfg"),
            AcceptanceFixtures.refusal("unknown_ca", of: "cn:plant-b-bsfg"),
            AcceptanceFixtures.refusal("no_certificate", of: nil),
            AcceptanceFixtures.refusal("stream_not_granted", of: "plant-a-bsfg", place: "request"),
        ]
        func findings() -> [String] {
            PeerDiagnosis.diagnose(
                PreflightCriteria.judge(good), reach: good.reach, node: node, plan: good.plan
            ).map(\.finding)
        }
        #expect(findings() == [])
        node.gates[0].mode = "autonomous"
        #expect(findings().count == 2)
        #expect(findings().first?.hasPrefix("we refused plant-a: unknown_ca at ") == true)
    }

    @Test("A file that differs from what runs fails, whatever the difference does")
    func notReloaded() throws {
        let files = try ConfigurationTestFiles(
            main: ServicesBench.main, peers: ServicesBench.peers, cursors: ServicesBench.noCursors)
        let listing = ConfigurationListing(try files.load())
        var running = listing.lines.map { NodeEvidence.Line(key: $0.key, value: $0.value) }
        var evidence = good
        func changed() -> [String] {
            evidence.noteChanges(files: listing, running: running)
            return evidence.changedKeys
        }
        #expect(changed() == [])
        // The file was cut, the node still serves it; another peer's entry is none of this federation.
        running.append(NodeEvidence.Line(key: "peers.plant-z.streams", value: "[a]"))
        running.append(NodeEvidence.Line(key: "log.level", value: "debug"))
        let index = try #require(running.firstIndex { $0.key == "peers.plant-a.streams" })
        running[index].value = "[facts.operational, facts.secret]"
        running.append(NodeEvidence.Line(key: "cursors.facts.operational/plant-z.peer", value: "plant-z"))
        #expect(changed().sorted() == ["cursors.facts.operational/plant-z.peer", "peers.plant-a.streams"])
        let found = try #require(PreflightCriteria.judge(evidence).named("configuration"))
        #expect(found.verdict == .failed && found.sentence.contains("peers.plant-a.streams and 1 other"))
        #expect(found.command == "bsfg config diff, then bsfg config reload")
        // What a reload does not put in force.
        running = listing.lines.map { NodeEvidence.Line(key: $0.key, value: $0.value) }
        for key in ["zone", "identity", "tls.certificate", "tls.key", "zones"] {
            let index = try #require(running.firstIndex { $0.key == key })
            running[index].value = "another"
        }
        running.append(NodeEvidence.Line(key: "artifacts.capacity", value: "another"))
        let keys = ["artifacts.capacity", "identity", "tls.certificate", "tls.key", "zone"]
        #expect(changed().filter { !$0.hasPrefix("artifacts.") || $0 == keys[0] }.sorted() == keys)
        let fixed = try #require(PreflightCriteria.judge(evidence).named("configuration"))
        #expect(fixed.verdict == .failed && fixed.command?.contains("restart the node") == true)
    }

    // MARK: - Diagnosis

    private func findings(
        theirs: NodeEvidence? = nil, isLive: Bool = true, _ spoil: (inout NodeEvidence) -> Void
    ) -> [PeerDiagnosis] {
        var node = AcceptanceFixtures.node("enterprise", "plant-a", own: 1, received: 1)
        spoil(&node)
        return PeerDiagnosis.diagnose(
            PreflightCriteria.judge(good), reach: good.reach, node: node, theirs: theirs, isLive: isLive,
            plan: good.plan)
    }

    @Test(
        "A pull that brings nothing is a finding, whatever the way to the peer is like",
        arguments: ["unavailable", "connecting", "stopped"])
    func silentPull(state: String) {
        let found = findings {
            $0.pulls[0].state = state
            $0.pulls[0].sentence = "the operator closed the gate"
        }
        #expect(found.map(\.finding) == ["facts.operational of plant-a is \(state): the operator closed the gate"])
    }

    @Test("Each direction of a gate that is not normal is a finding, with its reason")
    func gates() throws {
        let (open, shut) = (
            NodeEvidence.Gate.Direction(mode: "normal", reason: ""),
            NodeEvidence.Gate.Direction(mode: "autonomous", reason: "no request for 30 s")
        )
        func found(
            _ inbound: NodeEvidence.Gate.Direction, _ outbound: NodeEvidence.Gate.Direction,
            theirs: NodeEvidence? = nil, isLive: Bool = true
        ) -> [PeerDiagnosis] {
            findings(theirs: theirs, isLive: isLive) {
                $0.gates[0].mode = "autonomous"
                $0.gates[0].inbound = inbound
                $0.gates[0].outbound = outbound
            }
        }
        let deaf = found(shut, open)
        #expect(deaf.map(\.finding) == ["the gate of our pulls from plant-a is autonomous: no request for 30 s"])
        let silent = found(open, shut)
        #expect(silent.map(\.finding) == ["the gate by which plant-a takes from us is autonomous: no request for 30 s"])
        #expect(silent.first?.next == "on plant-a: bsfg doctor peer enterprise")
        #expect(found(shut, shut).count == 2)
        // Whoever takes nothing never calls.
        var theirs = AcceptanceFixtures.node("plant-a", "enterprise", own: 1, received: 1)
        theirs.pulls = []
        #expect(found(open, shut, theirs: theirs) == [])
        // So says a file of today too; one of another day, or of another zone, does not.
        #expect(found(open, shut, theirs: theirs, isLive: false) == [])
        var other = theirs
        other.zone = "plant-b"
        #expect(found(open, shut, theirs: other).count == 1)
        other = theirs
        other.takenAtUnixMs -= 86_400_001
        #expect(found(open, shut, theirs: other, isLive: false).count == 1)
        theirs.gates = [AcceptanceFixtures.gate("enterprise", mode: "autonomous", isClosed: true)]
        let closed = try #require(found(open, open, theirs: theirs).first)
        #expect(closed.finding.contains("the operator of plant-a closed the gate to enterprise"))
        #expect(closed.next == "on plant-a: bsfg admin reconcile --peer enterprise")
        // What was closed when a file was written may be open now.
        #expect(found(open, open, theirs: theirs, isLive: false).contains { $0.finding.contains("operator") } == false)
    }

    @Test("A peer whose certificate we refuse is diagnosed by what is wrong with it", arguments: [
        ("revoked", "was revoked by its CA", "issue a new certificate"),
        ("expired", "out of date", "timedatectl"), ("unknown_issuer", "of a CA that its entry does not have", "ca of"),
        ("identity_mismatch", "has another name", "compare identity"),
    ])
    func refusedPeer(reason: String, cause: String, next: String) throws {
        var reach = AcceptanceFixtures.reach
        reach.steps = [PeerReach.Step(name: "identity", isGood: false, sentence: "it is refused (\(reason))")]
        reach.failure = "identity"
        let found = PeerDiagnosis.diagnose([], reach: reach, node: nil, plan: good.plan)
        let first = try #require(found.first)
        #expect(first.cause.contains(cause) && first.next.contains(next), "\(first)")
        #expect((reason == "revoked") == first.cause.contains("revoked"))
    }

    @Test("A diagnosis names the likely cause and the next command, the nearest first")
    func diagnosis() {
        var reach = AcceptanceFixtures.reach
        reach.steps = [PeerReach.Step(name: "tcp", isGood: false, sentence: "refused")]
        reach.failure = "refused"
        var node = AcceptanceFixtures.node("enterprise", "plant-a", own: 1, received: 1)
        node.pulls[0].state = "blocked"
        node.pulls[0].reason = "stream_not_granted"
        let found = PeerDiagnosis.diagnose(
            PreflightCriteria.judge(good), reach: reach, node: node, plan: good.plan)
        #expect(found.map(\.cause).first == "nothing listens there")
        #expect(found.last?.next.contains("add it to the entry enterprise") == true)
        #expect(
            PeerDiagnosis.diagnose(
                PreflightCriteria.judge(good), reach: good.reach, node: good.node, plan: good.plan) == [])
    }
}
