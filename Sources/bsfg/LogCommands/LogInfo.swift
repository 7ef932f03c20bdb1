internal import ArgumentParser
internal import Facts
internal import WriteAheadLog

struct LogInfo: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info",
        abstract: "Shows what a log is and holds: identity, segments, cursors, registers.",
        discussion: """
            Works while another process writes. Exit status: 0 shown, 1 damage or failure, 2 wrong \
            command line.
            """)

    @OptionGroup var log: LogDirectory

    @OptionGroup var output: OutputOptions

    func run() throws {
        let information = try LogError.wrap { () throws(LogError) in
            try LogInspector(directory: log.dir).walk()
        }
        switch output.format {
        case .table: printTable(information)
        case .json: StandardOutput.json(json(information))
        }
    }

    /// As `bsfg status` has it.
    private static func percent(_ share: Double) -> String {
        let tenths = Int((share * 1_000).rounded())
        return "\(tenths / 10).\(tenths % 10) %"
    }

    private func printTable(_ log: LogInformation) {
        var facts = Table("LOG", self.log.dir)
        facts.row(["identifier", log.identifier.hexadecimal])
        facts.row(["profile", log.profile.name])
        facts.row(["epoch", String(log.epoch)])
        facts.row(["offsets", "\(log.firstOffset) up to \(log.headOffset) exclusive"])
        facts.row(["last commit", String(log.lastSequence)])
        facts.row(["end", log.end.rawValue])
        facts.row(["capacity", "\(log.capacityBytes) bytes, \(Self.percent(log.fill)) used"])
        facts.row(["segment", "\(log.segmentBytes) bytes"])
        facts.row(["commit alignment", "\(log.commitAlignmentBytes) bytes"])
        facts.row(["format", String(log.formatVersion)])
        if let place = log.checkpoint {
            facts.row([
                "checkpoint", "segment \(place.segmentID), byte \(place.position), offset "
                    + "\(place.nextOffset)",
            ])
        }
        if let head = log.chainHead { facts.row(["anchor", anchor(head)]) }
        if let removed = log.anchor { facts.row(["removed up to", anchor(removed)]) }
        if let since = log.alarmMilliseconds { facts.row(["alarm", "since \(since) (unix ms)"]) }
        if log.isDedupeHorizonLost { facts.row(["dedupe horizon", "lost, not accepted"]) }
        if log.isHalted { facts.row(["halted", "yes"]) }
        StandardOutput.line(facts.text + "\n")

        var segments = Table("SEGMENT", "OFFSETS#", "COMMITS#", "USED BYTES#", "EPOCH#", "STATUS")
        for segment in log.segments {
            segments.row([
                segment.file, "\(segment.baseOffset)..<\(segment.endOffset)",
                String(segment.commitCount), String(segment.endPosition), String(segment.epoch),
                status(segment, isLast: segment.id == log.segments.last?.id),
            ])
        }
        StandardOutput.line(segments.text)
        if !log.losses.isEmpty {
            var losses = Table("LOST", "REASONS", "DECLARED (UNIX MS)#")
            for gap in log.losses {
                losses.row([
                    "\(gap.offsets.lowerBound)..<\(gap.offsets.upperBound)",
                    gap.reasons.names.joined(separator: ", "),
                    gap.timeMilliseconds.map { String($0) } ?? "-",
                ])
            }
            StandardOutput.line("\n" + losses.text)
        }
        if !log.runs.isEmpty {
            var runs = Table("KEY RUN", "OFFSETS", "KEYS#", "BYTES#", "COPIES#", "TIER#", "STATUS")
            for run in log.runs {
                runs.row([
                    run.file, "\(run.offsets.lowerBound)..<\(run.offsets.upperBound)",
                    String(run.keyCount), String(run.byteCount), String(run.copies),
                    String(run.tier), run.isRebuilding ? "being gathered again" : "whole",
                ])
            }
            StandardOutput.line("\n" + runs.text)
        }

        if !log.cursors.isEmpty {
            var cursors = Table("OWNER", "CURSOR", "NEXT#", "LAG#", "EPOCH#", "REQUIRED", "BEGAN", "DETACHED")
            for cursor in log.cursors {
                let lag = log.headOffset - min(log.headOffset, cursor.nextOffset)
                cursors.row([
                    cursor.owner, cursor.name, String(cursor.nextOffset), String(lag),
                    String(cursor.epoch), cursor.required ? "yes" : "no", cursor.initialisation,
                    cursor.detachReason ?? "-",
                ])
            }
            StandardOutput.line("\n" + cursors.text)
        }
        if !log.registers.isEmpty {
            var registers = Table("REGISTER", "BYTES#", "VALUE")
            for register in log.registers {
                registers.row([
                    String(decoding: register.name, as: UTF8.self), String(register.value.count),
                    Hexadecimal.encode(register.value),
                ])
            }
            StandardOutput.line("\n" + registers.text)
        }
    }

    private func status(_ segment: SegmentInformation, isLast: Bool) -> String {
        if isLast { return "written" }
        var words = [segment.isSealed ? "sealed" : "closed"]
        if segment.isRepacked { words.append("repacked") }
        if segment.isDamaged { words.append("damaged") }
        if segment.isCut { words.append("torn tail cut") }
        return words.joined(separator: ", ")
    }

    private func anchor(_ head: ChainHead) -> String {
        "\(head.segmentID):\(head.digest.hexadecimal)"
    }

    private func json(_ log: LogInformation) -> JSONOutput {
        .object([
            ("identifier", .text(log.identifier.hexadecimal)),
            ("format", .integer(Int64(log.formatVersion))),
            ("profile", .text(log.profile.name)),
            ("epoch", .unsigned(log.epoch)),
            ("first_offset", .unsigned(log.firstOffset)),
            ("head_offset", .unsigned(log.headOffset)),
            ("last_sequence", .unsigned(log.lastSequence)),
            ("recorded_sequence", .unsigned(log.recordedSequence)),
            ("state_generation", .unsigned(log.stateGeneration)),
            ("table_generation", .unsigned(log.tableGeneration)),
            ("end", .text(log.end.rawValue)),
            ("capacity_bytes", .unsigned(log.capacityBytes)),
            ("segment_bytes", .unsigned(log.segmentBytes)),
            ("commit_alignment_bytes", .integer(Int64(log.commitAlignmentBytes))),
            ("fill", .text(String(log.fill))),
            ("anchor", log.chainHead.map { .text(anchor($0)) } ?? .null),
            ("removed_anchor", log.anchor.map { .text(anchor($0)) } ?? .null),
            (
                "checkpoint",
                log.checkpoint.map {
                    .object([
                        ("segment", .unsigned($0.segmentID)), ("position", .unsigned($0.position)),
                        ("next_offset", .unsigned($0.nextOffset)),
                    ])
                } ?? .null
            ),
            ("alarm_since_unix_ms", log.alarmMilliseconds.map { .integer($0) } ?? .null),
            ("dedupe_horizon_lost", .flag(log.isDedupeHorizonLost)),
            ("halted", .flag(log.isHalted)),
            (
                "losses",
                .list(
                    log.losses.map { gap in
                        .object([
                            ("first_offset", .unsigned(gap.offsets.lowerBound)),
                            ("last_offset", .unsigned(gap.offsets.upperBound - 1)),
                            ("reasons", .list(gap.reasons.names.map { .text($0) })),
                            ("declared_unix_ms", gap.timeMilliseconds.map { .integer($0) } ?? .null),
                        ])
                    })
            ),
            (
                "key_runs",
                .list(
                    log.runs.map { run in
                        .object([
                            ("file", .text(run.file)),
                            ("first_offset", .unsigned(run.offsets.lowerBound)),
                            ("end_offset", .unsigned(run.offsets.upperBound)),
                            ("keys", .integer(Int64(run.keyCount))),
                            ("bytes", .unsigned(run.byteCount)),
                            ("copies", .integer(Int64(run.copies))),
                            ("tier", .integer(Int64(run.tier))),
                            ("rebuilding", .flag(run.isRebuilding)),
                        ])
                    })
            ),
            ("epochs", .list(log.epochs.map(epoch))),
            ("segments", .list(log.segments.map(segment))),
            ("cursors", .list(log.cursors.map(cursor))),
            (
                "registers",
                .list(
                    log.registers.map {
                        .object([
                            ("name", .text(String(decoding: $0.name, as: UTF8.self))),
                            ("value", .text(Base64.encode($0.value))),
                        ])
                    })
            ),
        ])
    }

    private func epoch(_ epoch: EpochEntry) -> JSONOutput {
        .object([
            ("epoch", .unsigned(epoch.epoch)),
            ("first_offset", .unsigned(epoch.firstOffset)),
            ("began_unix_ms", .integer(epoch.beganMilliseconds)),
            ("reason", .text(epoch.reason)),
        ])
    }

    private func segment(_ segment: SegmentInformation) -> JSONOutput {
        .object([
            ("file", .text(segment.file)),
            ("first_offset", .unsigned(segment.baseOffset)),
            ("end_offset", .unsigned(segment.endOffset)),
            ("first_sequence", .unsigned(segment.firstSequence)),
            ("last_sequence", .unsigned(segment.lastSequence)),
            ("commits", .unsigned(segment.commitCount)),
            ("end_position", .unsigned(segment.endPosition)),
            ("segment_bytes", .unsigned(segment.segmentBytes)),
            ("epoch", .unsigned(segment.epoch)),
            ("created_unix_ms", .integer(segment.createdMilliseconds)),
            ("cut", .flag(segment.isCut)),
            ("sealed", .flag(segment.isSealed)),
            ("damaged", .flag(segment.isDamaged)),
            ("repacked", .flag(segment.isRepacked)),
            ("file_bytes", .unsigned(segment.fileBytes)),
            ("digest", segment.digest.map { .text($0.hexadecimal) } ?? .null),
        ])
    }

    private func cursor(_ cursor: Cursor) -> JSONOutput {
        .object([
            ("owner", .text(cursor.owner)),
            ("name", .text(cursor.name)),
            ("next_offset", .unsigned(cursor.nextOffset)),
            ("epoch", .unsigned(cursor.epoch)),
            ("digest", cursor.digest.map { .text($0.hexadecimal) } ?? .null),
            ("digest_offset", cursor.digestOffset.map { .unsigned($0) } ?? .null),
            ("receiver", cursor.receiver.map { .text($0.hexadecimal) } ?? .null),
            ("receiver_epoch", .unsigned(cursor.receiverEpoch)),
            ("required", .flag(cursor.required)),
            ("detached", cursor.detachReason.map { .text($0) } ?? .null),
            ("initialisation", .text(cursor.initialisation)),
            ("created_unix_ms", .integer(cursor.createdMilliseconds)),
        ])
    }
}
