internal import ArgumentParser
internal import Facts
internal import WriteAheadLog

struct LogVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Reads every byte of a log and checks it.",
        discussion: """
            Every checksum, every link, counts, offsets, footers and the chain of segment digests, all \
            copies of key runs, and that padding and unused space are zero. Damage is named with its \
            file, byte and offsets, and what lies behind it is checked too. Nothing is modified; it \
            works while another process writes.

            The digest of the newest sealed segment that is printed speaks for everything before it: \
            keep it elsewhere and give it back as an anchor, and nobody can have changed the log \
            unnoticed.

            Exit status: 0 sound, 1 damaged or not readable, 2 wrong command line.
            """)

    @OptionGroup var log: LogDirectory

    @Flag(help: "Also compare the keys in the key runs with those of the records.")
    var deep = false

    @Option(help: ArgumentHelp(
            "A segment's id and digest, kept elsewhere: the chain must lead to it.",
            valueName: "ID:DIGEST"))
    var anchor: AnchorArgument?

    @OptionGroup var output: OutputOptions

    func run() throws {
        let report = try LogError.wrap { () throws(LogError) in
            try LogInspector(directory: log.dir).verify(deep: deep, anchor: anchor?.head)
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
        table.row(["sealed", String(report.sealedSegmentCount)])
        table.row(["key runs", String(report.runCount)])
        table.row(["commits", String(report.commitCount)])
        table.row(["records", String(report.recordCount)])
        table.row(["keys", String(report.keyCount)])
        StandardOutput.line(table.text)
        StandardOutput.line(
            "\noffsets \(report.firstOffset) up to \(report.headOffset) exclusive; "
                + "\(report.end.rawValue) in \(report.endFile) at byte \(report.endPosition)")
        if let head = report.chainHead {
            StandardOutput.line("anchor \(head.segmentID):\(head.digest.hexadecimal)")
        }
        printPlaces(report.damage, "DAMAGE")
        printPlaces(report.declaredGaps, "DECLARED LOST BEFORE")
        printPlaces(report.notices, "NOTICE")
        StandardOutput.line(report.isSound ? "sound" : "damaged")
    }

    private func printPlaces(_ places: [LogVerification.Damage], _ heading: String) {
        guard !places.isEmpty else { return }
        var table = Table("FILE", "BYTE#", "OFFSETS", heading)
        for place in places {
            table.row([
                place.file, String(place.position),
                place.offsets.isEmpty
                    ? "-" : "\(place.offsets.lowerBound)..<\(place.offsets.upperBound)",
                place.reason,
            ])
        }
        StandardOutput.line("\n" + table.text)
    }

    private func json(_ report: LogVerification) -> JSONOutput {
        .object([
            ("sound", .flag(report.isSound)),
            ("segments", .integer(Int64(report.segmentCount))),
            ("sealed_segments", .integer(Int64(report.sealedSegmentCount))),
            ("key_runs", .integer(Int64(report.runCount))),
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
                "anchor",
                report.chainHead.map { .text("\($0.segmentID):\($0.digest.hexadecimal)") } ?? .null
            ),
            ("damage", Self.json(report.damage)),
            ("declared_gaps", Self.json(report.declaredGaps)),
            ("notices", Self.json(report.notices)),
        ])
    }

    static func json(_ places: [LogVerification.Damage]) -> JSONOutput {
        .list(
            places.map { place in
                .object([
                    ("file", .text(place.file)),
                    ("position", .unsigned(place.position)),
                    ("first_offset", offset(place.offsets.first)),
                    ("last_offset", offset(place.offsets.last)),
                    ("reason", .text(place.reason)),
                ])
            })
    }

    private static func offset(_ value: UInt64?) -> JSONOutput { value.map { .unsigned($0) } ?? .null }
}

/// A digest of the chain as `log verify` and `log info` print it.
struct AnchorArgument: ExpressibleByArgument {
    let head: ChainHead

    init?(argument: String) {
        let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let id = UInt64(parts[0]), let bytes = Hexadecimal.decode(parts[1].utf8),
            bytes.count == Digest256.byteCount
        else { return nil }
        head = ChainHead(segmentID: id, digest: Digest256(bytes: bytes))
    }
}
