extension AcceptanceReport {
    /// For people: the tables of the runbook, filled in.
    package var markdown: String {
        var lines = [
            "# Acceptance of the federation \(zone) - \(peer)", "",
            "\(isAccepted ? "**Accepted**" : "**Not accepted**") at \(takenAt), release \(release).", "",
        ]
        if let approval { lines += ["Approved by: \(Self.cell(approval))", ""] }
        lines += ["## Criteria", "", "| Section | Criterion | Status | What was found |", "|---|---|---|---|"]
        for criterion in criteria {
            let waiver = criterion.waiver.map { " Waived: \($0)" } ?? ""
            lines.append(
                "| \(criterion.section) | \(criterion.name) | "
                    + "\(criterion.verdict.rawValue.replacing("_", with: " ")) | "
                    + Self.cell(criterion.sentence + waiver) + " |")
        }
        if let plan = evidence?.plan {
            lines += ["", "## Authorization matrix", ""]
            lines += ["| From | To | Authorized | Streams | Origins | Artifacts |", "|---|---|---|---|---|---|"]
            for grant in plan.grants {
                let lists = [grant.streams, grant.origins, grant.artifacts].map {
                    $0.isEmpty ? "none" : $0.joined(separator: ", ")
                }
                lines.append(
                    "| \(grant.from) | \(grant.to) | \(grant.isAuthorised ? "yes" : "no") | "
                        + lists.joined(separator: " | ") + " |")
            }
            lines += ["", "## Cursor initialization", ""]
            lines += ["| Receiver | Source | Stream | Origin | Mode | Justification |", "|---|---|---|---|---|---|"]
            for flow in plan.flows {
                lines.append(
                    "| \(flow.receiver) | \(flow.source) | \(flow.stream) | \(flow.origin) | "
                        + "\(flow.initMode) | \(Self.cell(flow.justification ?? "")) |")
            }
        }
        lines += ["", "## Sign-off", "", "| Role | Name |", "|---|---|"]
        for signOff in signOffs {
            lines.append("| \(Self.cell(signOff.role)) | \(Self.cell(signOff.name)) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A bar would end the cell, a line break the table.
    private static func cell(_ text: String) -> String {
        text.replacing("|", with: "\\|").replacing("\n", with: " ")
    }
}
