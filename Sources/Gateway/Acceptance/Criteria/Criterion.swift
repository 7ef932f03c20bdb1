/// One thing that the bring-up runbook asks for, and how it stands.
package struct Criterion: Sendable, Codable, Equatable {
    package enum Verdict: String, Sendable, Codable {
        case passed
        case failed
        /// Nothing was found out: never as good as passed.
        case notChecked = "not_checked"
        /// Somebody answers for it with a reason.
        case waived
    }

    /// A stable word, by which it is waived.
    package var name: String
    /// Of the bring-up runbook.
    package var section: String
    package var verdict: Verdict
    package var sentence: String
    /// What changes the verdict, as a command or a file to edit.
    package var command: String?
    /// Whether it has to be passed or waived.
    package var isRequired: Bool
    package var waiver: String?

    private init(
        _ name: String, _ section: String, _ verdict: Verdict, _ sentence: String,
        _ command: String?, isRequired: Bool
    ) {
        self.name = name
        self.section = section
        self.verdict = verdict
        self.sentence = sentence
        self.command = command
        self.isRequired = isRequired
    }

    static func passed(_ name: String, _ section: String, _ sentence: String, required: Bool = true)
        -> Criterion
    {
        Criterion(name, section, .passed, sentence, nil, isRequired: required)
    }

    static func failed(
        _ name: String, _ section: String, _ sentence: String, command: String? = nil,
        required: Bool = true
    ) -> Criterion {
        Criterion(name, section, .failed, sentence, command, isRequired: required)
    }

    static func notChecked(
        _ name: String, _ section: String, _ sentence: String, command: String? = nil,
        required: Bool = true
    ) -> Criterion {
        Criterion(name, section, .notChecked, sentence, command, isRequired: required)
    }

    /// Stands in the way: a failure always, what was not checked only where it is required.
    package var isBlocking: Bool {
        switch verdict {
        case .passed, .waived: false
        case .failed: true
        case .notChecked: isRequired
        }
    }

    /// What stays open may be answered for; what passed needs no waiver.
    package func waived(because reason: String) -> Criterion {
        guard isBlocking else { return self }
        var copy = self
        copy.verdict = .waived
        copy.waiver = reason
        return copy
    }
}

extension [Criterion] {
    package func named(_ name: String) -> Criterion? {
        first { $0.name.utf8.elementsEqual(name.utf8) }
    }
}
