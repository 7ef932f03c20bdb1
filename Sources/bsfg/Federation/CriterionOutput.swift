internal import Gateway

/// Criteria as a table and as JSON, and what they mean for the exit status.
enum CriterionOutput {
    static func table(_ criteria: [Criterion]) -> String {
        var table = Table("SECTION", "CRITERION", "STATUS", "")
        for criterion in criteria {
            table.row([
                criterion.section, criterion.name, word(criterion.verdict), criterion.sentence,
            ])
        }
        var lines = [table.text]
        for criterion in criteria {
            if let waiver = criterion.waiver { lines.append("waived \(criterion.name): \(waiver)") }
            guard criterion.verdict == .failed || criterion.isBlocking, let command = criterion.command
            else { continue }
            lines.append("\(criterion.name): \(command)")
        }
        return lines.joined(separator: "\n")
    }

    private static func word(_ verdict: Criterion.Verdict) -> String {
        switch verdict {
        case .passed: "passed"
        case .failed: "FAILED"
        case .notChecked: "not checked"
        case .waived: "waived"
        }
    }

    static func json(_ criterion: Criterion) -> JSONOutput {
        .object([
            ("name", .text(criterion.name)),
            ("section", .text(criterion.section)),
            ("verdict", .text(criterion.verdict.rawValue)),
            ("required", .flag(criterion.isRequired)),
            ("sentence", .text(criterion.sentence)),
            ("command", criterion.command.map { .text($0) } ?? .null),
            ("waiver", criterion.waiver.map { .text($0) } ?? .null),
        ])
    }

    static func show(_ criteria: [Criterion], _ format: OutputFormat) {
        switch format {
        case .table: StandardOutput.line(table(criteria))
        case .json: StandardOutput.json(.list(criteria.map(json)))
        }
    }
}
