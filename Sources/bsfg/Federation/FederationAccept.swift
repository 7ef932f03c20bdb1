internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import RPC

struct FederationAccept: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept",
        abstract: "Runs all handoff criteria against two live nodes and writes a signed report.",
        discussion: """
            The preconditions first; where one stands in the way it halts. Then authentication, \
            authorization, denials, the controlled partition and the duplicate replay. Writes \
            OUT/acceptance.json, its signature acceptance.json.sig by our node's key, and \
            acceptance.md. Exit status 0 when everything required is passed or waived. Verify with:
              openssl x509 -in server.crt -pubkey -noout > server.pub
              openssl dgst -sha256 -verify server.pub -signature acceptance.json.sig acceptance.json
            """)

    @OptionGroup var sides: FederationOptions

    @Option(help: ArgumentHelp("The directory of the report.", valueName: "DIR"))
    var out: String

    @Option(help: ArgumentHelp("Who signs; repeat it for each role.", valueName: "ROLE=NAME"))
    var signOff: [String] = []

    @Option(
        help: ArgumentHelp(
            "Somebody answers for a criterion that is not passed; repeat it for more.",
            valueName: "CRITERION=REASON"))
    var waive: [String] = []

    @Option(help: "The ticket or document that approves what is granted.")
    var approval: String?

    @Flag(help: "Measures the disk too: writes 16 MiB beside the logs and removes them.")
    var diskTest = false

    @Option(
        help: ArgumentHelp(
            "A certificate of somebody whom the peer does not list; it has to be refused.",
            valueName: "FILE"))
    var unlistedCert: String?

    @Option(help: ArgumentHelp("Its key.", valueName: "FILE"))
    var unlistedKey: String?

    @Option(help: "How long to wait for each state.")
    var patienceSeconds = 60

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...600).contains(patienceSeconds) else {
            throw ValidationError("--patience-seconds is between 1 and 600.")
        }
        guard (unlistedCert == nil) == (unlistedKey == nil) else {
            throw ValidationError("--unlisted-cert and --unlisted-key go together.")
        }
        _ = try pairs(signOff, "--sign-off")
        let known =
            HandoffCriteria.names + PreflightCriteria.names + ["sign_off"]
        for (name, _) in try pairs(waive, "--waive") {
            guard known.contains(where: { $0.utf8.elementsEqual(name.utf8) }) else {
                throw ValidationError(
                    "There is no criterion '\(name)'; \(NearestName.hint(for: name, among: known)).")
            }
        }
    }

    private func pairs(_ texts: [String], _ option: String) throws -> [(String, String)] {
        try texts.map { text in
            guard let sign = text.firstIndex(of: "="), sign != text.startIndex,
                text.index(after: sign) != text.endIndex
            else { throw ValidationError("\(option) is NAME=TEXT, both not empty.") }
            return (String(text[..<sign]), String(text[text.index(after: sign)...]))
        }
    }

    func run() async throws {
        let configuration = try sides.load()
        let unlisted = try unlisted()
        let theirs = try await sides.theirs()
        // Before minutes of drills whose report would be lost.
        try CommandFailure.wrap { try CertificateFiles.makeDirectory(out) }
        try ReportFiles.requireWritable(out)
        let preflight = await PreflightProbe(
            configuration: configuration, peer: sides.peer, theirs: theirs, approval: approval,
            measuresDisk: diskTest, callsPeer: false
        ).run()
        let waivers = try pairs(waive, "--waive").map {
            AcceptanceReport.Waiver(criterion: $0.0, reason: $0.1)
        }
        let preconditions = PreflightCriteria.judge(preflight)
        let isHalted = preconditions.contains { criterion in
            criterion.isBlocking
                && !waivers.contains { $0.criterion.utf8.elementsEqual(criterion.name.utf8) }
        }
        let gathering = AcceptanceGathering(
            configuration: configuration, peer: sides.peer, theirs: theirs, theirSide: sides.theirSide,
            patienceSeconds: patienceSeconds, unlisted: unlisted, waived: Set(waivers.map(\.criterion)),
            closure: DrillInterruption.handled(peer: sides.peer))
        var handoff: AcceptanceEvidence?
        if !isHalted {
            handoff = try await CommandFailure.wrapping { try await gathering.run() }
        }
        let report = AcceptanceReport(
            zone: configuration.zone, peer: sides.peer, signedBy: try fingerprint(configuration),
            takenAt: UTCText.text(Int64(Date().timeIntervalSince1970)), approval: approval,
            preconditions: preconditions, preflight: preflight, handoff: handoff, waivers: waivers,
            signOffs: try pairs(signOff, "--sign-off").map {
                AcceptanceReport.SignOff(role: $0.0, name: $0.1)
            })
        // What was found is told also where it cannot be written any more.
        switch output.format {
        case .table:
            StandardOutput.line(CriterionOutput.table(report.criteria))
            try write(report, configuration)
            StandardOutput.line(
                "\n\(report.isAccepted ? "accepted" : "NOT accepted"): \(out)/acceptance.json, signed")
        case .json:
            StandardOutput.json(
                .object([
                    ("accepted", .flag(report.isAccepted)),
                    ("report", .text("\(out)/acceptance.json")),
                    ("criteria", .list(report.criteria.map(CriterionOutput.json))),
                ]))
            try write(report, configuration)
        }
        if !report.isAccepted { throw CommandFailure(.failure, "") }
    }

    private func unlisted() throws -> DenialProbe.Certificate? {
        guard let unlistedCert, let unlistedKey else { return nil }
        return try DenialProbe.Certificate(certificateFile: unlistedCert, keyFile: unlistedKey)
    }

    private func fingerprint(_ configuration: NodeConfiguration) throws -> String {
        try CommandFailure.wrap {
            let chain = try X509Certificate.all(file: configuration.tls.certificateFile)
            guard let leaf = chain.first else {
                throw CertificateError("\(configuration.tls.certificateFile) holds no certificate")
            }
            return leaf.fingerprintHexadecimal
        }
    }

    private func write(_ report: AcceptanceReport, _ configuration: NodeConfiguration) throws {
        let json = try report.json()
        let signature = try CommandFailure.wrap {
            try PrivateKey(file: configuration.tls.keyFile).signature(of: json)
        }
        try ReportFiles.write(json, to: "\(out)/acceptance.json")
        try ReportFiles.write(signature, to: "\(out)/acceptance.json.sig")
        try ReportFiles.write(Array(report.markdown.utf8), to: "\(out)/acceptance.md")
    }
}

extension DenialProbe.Certificate {
    /// - Throws: `CommandFailure` for files that are no certificate with its key: nobody would be refused by
    ///   them.
    init(certificateFile: String, keyFile: String) throws {
        do throws(CertificateError) {
            let maximum = X509Certificate.fileBytesMaximum
            let leaf = try X509Certificate.all(file: certificateFile).first
            let key = try PrivateKey(file: keyFile)
            guard let leaf, key.belongs(to: leaf) else {
                throw CertificateError("\(keyFile) is not the key of \(certificateFile)")
            }
            self.init(
                chain: try SmallFile.read(certificateFile, bytesMaximum: maximum),
                key: try SmallFile.read(keyFile, bytesMaximum: maximum))
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
    }
}
