internal import Facts
internal import RPC

/// How far a call to a peer came, and what it found out.
package struct PeerReach: Sendable, Codable, Equatable {
    package struct Step: Sendable, Codable, Equatable {
        package var name: String
        package var isGood: Bool
        package var sentence: String
        package var milliseconds = 0.0
    }

    package var steps: [Step]
    /// Why the peer was not called at all; nil where it was.
    package var notCalled: String?
    /// The kind of a transport failure, or the reason that the peer gave.
    package var failure: String?
    /// The other side's own note of it, where it refused us and was asked.
    package var refusal: NodeRefusal?
    package var zone = ""
    package var identity = ""
    package var release = ""
    /// `ok`, or what it says of itself.
    package var state = ""
    /// When the certificate that it showed ends, in seconds since 1970; nil where none was seen.
    package var certificateNotAfter: Int64?
    /// What we are there.
    package var roles: [String] = []
    /// Theirs minus ours.
    package var clockMilliseconds: Int64?
    package var clockUncertaintyMilliseconds: Int64 = 0

    package init(steps: [Step]) { self.steps = steps }

    /// Of a peer that is not to be called from here.
    package init(notCalled reason: String) {
        steps = []
        notCalled = reason
    }

    /// In which one side refuses who the other is.
    static let identitySteps: Set<String> = [
        PeerProbe.Step.tls.rawValue, PeerProbe.Step.identity.rawValue,
    ]

    package var failedStep: Step? { steps.first { !$0.isGood } }

    /// Why the node that answered is not, or does not take us for, what peers.yaml says.
    package func disagreement(with peer: String) -> String? {
        guard failedStep == nil else { return nil }
        if !zone.utf8.elementsEqual(peer.utf8) {
            return "the node there is of the zone \(zone), peers.yaml says \(peer); correct the "
                + "endpoint or the id"
        }
        guard roles.contains(where: { $0.utf8.elementsEqual("peer".utf8) }) else {
            return "we are no peer there; ask for an entry in their peers.yaml with authorized: true"
        }
        return nil
    }

    /// Whether the peer answered, as who it should be, that it cannot answer at the moment.
    package var isBusy: Bool {
        guard let failedStep, failedStep.name == PeerProbe.Step.health.rawValue else { return false }
        return failure.flatMap(ErrorReason.init(rawValue:))?.retryable == true
    }

    /// What stands in the way, in the words of both sides.
    package var obstacle: String? {
        failedStep.map { step in
            "\(step.name): \(step.sentence)"
                + (refusal.map { "; the other side noted \($0.text)" } ?? "")
        }
    }
}

extension PeerReach.Step {
    init(_ result: PeerProbe.Result) {
        self.init(
            name: result.step.rawValue, isGood: result.isGood, sentence: result.text,
            milliseconds: result.milliseconds)
    }
}
