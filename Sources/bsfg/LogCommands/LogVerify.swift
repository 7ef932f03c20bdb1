internal import ArgumentParser
internal import WriteAheadLog

struct LogVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Reads every byte of a log and checks it.",
        discussion: """
            Every checksum, every link, counts, offsets, and that padding and unused space are zero. \
            Damage is named with its file, byte and offsets, and what lies behind it is checked too. \
            Nothing is modified; it works while another process writes.

            Exit status: 0 sound, 1 damaged or not readable, 2 wrong command line.
            """)

    @OptionGroup var log: LogDirectory

    @OptionGroup var output: OutputOptions

    func run() throws {
        let report = try LogError.wrap { () throws(LogError) in
            try LogInspector(directory: log.dir).verify()
        }
        switch output.format {
        case .table: printTable(report)
        case .json: StandardOutput.json(json(report))
        }
        guard report.isSound else {
            let places = report.damage.count
            throw CommandFailure(
                .failure,
                "\(log.dir) is damaged in \(places) place\(places == 1 ? "" : "s"); keep its files "
                    + "and restore from a peer or a backup")
        }
    }

    private func printTable(_ report: LogVerification) {
        var table = Table("CHECKED", "COUNT#")
        table.row(["segments", String(report.segmentCount)])
        table.row(["commits", String(report.commitCount)])
        table.row(["records", String(report.recordCount)])
        table.row(["keys", String(report.keyCount)])
        StandardOutput.line(table.text)
        StandardOutput.line(
            "\noffsets \(report.firstOffset) up to \(report.headOffset) exclusive; "
                + "\(report.end.rawValue) in \(report.endFile) at byte \(report.endPosition)")
        if !report.damage.isEmpty {
            var damage = Table("FILE", "BYTE#", "OFFSETS", "DAMAGE")
            for place in report.damage {
                damage.row([
                    place.file, String(place.position),
                    place.offsets.isEmpty
                        ? "-" : "\(place.offsets.lowerBound)..<\(place.offsets.upperBound)",
                    place.reason,
                ])
            }
            StandardOutput.line("\n" + damage.text)
        }
        for notice in report.notices { StandardOutput.line("notice: \(notice)") }
        StandardOutput.line(report.isSound ? "sound" : "damaged")
    }

    private func json(_ report: LogVerification) -> JSONOutput {
        .object([
            ("sound", .flag(report.isSound)),
            ("segments", .integer(Int64(report.segmentCount))),
            ("commits", .unsigned(report.commitCount)),
            ("records", .unsigned(report.recordCount)),
            ("keys", .unsigned(report.keyCount)),
            ("first_offset", .unsigned(report.firstOffset)),
            ("head_offset", .unsigned(report.headOffset)),
            ("end", .text(report.end.rawValue)),
            ("end_row", .text(report.row.rawValue)),
            ("end_file", .text(report.endFile)),
            ("end_position", .unsigned(report.endPosition)),
            (
                "damage",
                .list(
                    report.damage.map { place in
                        .object([
                            ("file", .text(place.file)),
                            ("position", .unsigned(place.position)),
                            ("first_offset", offset(place.offsets.first)),
                            ("last_offset", offset(place.offsets.last)),
                            ("reason", .text(place.reason)),
                        ])
                    })
            ),
            ("notices", .list(report.notices.map { .text($0) })),
        ])
    }

    private func offset(_ value: UInt64?) -> JSONOutput { value.map { .unsigned($0) } ?? .null }
}
