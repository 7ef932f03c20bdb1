internal import FoundationEssentials

/// Whether a federation is accepted, by whom, and from what it was decided.
package struct AcceptanceReport: Sendable, Codable, Equatable {
    package static let format = "bsfg.federation.acceptance.v1"
    package static let requiredRoles = [
        "Federation Engineer", "Zone A Platform Lead", "Zone B Platform Lead",
    ]

    package struct SignOff: Sendable, Codable, Equatable {
        package var role: String
        package var name: String

        package init(role: String, name: String) {
            self.role = role
            self.name = name
        }
    }

    package struct Waiver: Sendable, Equatable {
        package var criterion: String
        package var reason: String

        package init(criterion: String, reason: String) {
            self.criterion = criterion
            self.reason = reason
        }
    }

    package var format = AcceptanceReport.format
    package var release: String
    package var zone: String
    package var peer: String
    /// SHA-256 of the certificate whose key signs, in hexadecimal.
    package var signedBy: String
    package var takenAt: String
    package var isAccepted: Bool
    package var approval: String?
    package var criteria: [Criterion]
    package var signOffs: [SignOff]
    /// What the preconditions were decided from.
    package var preflight: PreflightEvidence?
    /// What everything else was decided from; nil where a precondition stood in the way.
    package var evidence: AcceptanceEvidence?

    /// The preconditions are judged first: where one stands in the way the runbook halts, and nothing else was
    /// looked at.
    ///
    /// - Parameter handoff: nil where a precondition failed.
    package init(
        zone: String, peer: String, signedBy: String, takenAt: String, approval: String?,
        preconditions: [Criterion], preflight: PreflightEvidence? = nil, handoff: AcceptanceEvidence?,
        waivers: [Waiver], signOffs: [SignOff]
    ) {
        release = NodeRelease.name
        self.zone = zone
        self.peer = peer
        self.signedBy = signedBy
        self.takenAt = takenAt
        self.approval = approval
        self.signOffs = signOffs
        self.preflight = preflight
        evidence = handoff
        var all = preconditions
        if let handoff {
            all += HandoffCriteria.judge(handoff, waived: Set(waivers.map(\.criterion)))
        } else {
            let halted = preconditions.first(where: \.isBlocking)?.name ?? "a precondition"
            all += HandoffCriteria.names.map { name -> Criterion in
                .notChecked(name, HandoffCriteria.section, "\(halted) stands in the way")
            }
        }
        all.append(Self.signOff(signOffs))
        criteria = all.map { criterion -> Criterion in
            let waiver = waivers.first { $0.criterion.utf8.elementsEqual(criterion.name.utf8) }
            return waiver.map { criterion.waived(because: $0.reason) } ?? criterion
        }
        isAccepted = !criteria.contains(where: \.isBlocking)
    }

    private static func signOff(_ signOffs: [SignOff]) -> Criterion {
        let lacking = requiredRoles.filter { role in
            !signOffs.contains { $0.role.utf8.elementsEqual(role.utf8) && !$0.name.isEmpty }
        }
        guard lacking.isEmpty else {
            return .notChecked(
                "sign_off", "9", "nobody signed as \(lacking.joined(separator: ", "))",
                command: "--sign-off '\(lacking[0])=NAME'")
        }
        return .passed(
            "sign_off", "9", signOffs.map { "\($0.role): \($0.name)" }.joined(separator: "; "))
    }

    package func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
    }
}
