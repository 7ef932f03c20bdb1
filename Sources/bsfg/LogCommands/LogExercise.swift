internal import ArgumentParser
internal import WriteAheadLog

/// What the fault tests drive a log with.
struct LogExercise: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exercise",
        abstract: "Works a log by commands from standard input and tells every answer as JSON.",
        discussion: """
            A command a line:
              append KEY SIZE [COUNT]  COUNT records as one batch; record i has the key KEY/i and SIZE \
            bytes that follow from that key alone. Answered when durable; up to --in-flight at once.
              plain KEY SIZE [COUNT]   the same without keys.
              confirm N                moves the one required cursor to N, on a thread of its own.
              read FROM COUNT          reads records back and holds them against their keys.
              gaps                     what was lost unconfirmed, as the log declares it.
              acknowledge              ends the alarm of a sil_strict log that was full.
              stats                    size, work and failure of the log.
              wait                     answers when everything before it is answered.
            The end of the input waits too, then closes the log.

            Each answer is one line, {"line": N, "answer": WORD, ...}: opened (line 0), appended with \
            first and last offset or a list of outcomes, confirmed, read, gaps, acknowledged, statistics, \
            waited, closed; refused with a reason when nothing was written; unknown, poisoned or failed.

            Exit status: 0 the input was worked through, whatever was answered; 1 the log cannot be \
            opened; 2 wrong command.
            """,
        shouldDisplay: false)

    @OptionGroup var log: LogDirectory

    @Option(help: "How many appends may be under way at once, up to 4096.")
    var inFlight = 64

    @Option(help: "Bytes of a segment when the log is made.")
    var segment: ByteQuantity?

    @Option(help: "Bytes that the log may fill when it is made; 1GiB.")
    var capacity: ByteQuantity?

    @Option(help: "standard or sil_strict.")
    var profile: ProfileArgument = .standard

    @Option(help: "What a full log does: reject or drop_oldest.")
    var whenFull: String?

    @Option(help: "Free bytes of the file system below which appends are refused; 0: not watched.")
    var reserve: ByteQuantity?

    func validate() throws {
        guard (1...4096).contains(inFlight) else {
            throw ValidationError("--in-flight is from 1 to 4096.")
        }
    }

    func run() throws {
        try log.refuseLogOfNode()
        let opened = try LogError.wrap { () throws(LogError) in
            var retention = RetentionOptions()
            retention.freeSpaceReserveBytes = reserve?.bytes ?? 0
            var options = LogOptions(
                policy: try LogPolicy.parse(profile: profile.profile.name, whenFull: whenFull),
                segmentBytes: segment?.bytes, retention: retention)
            if let capacity { options.capacityBytes = capacity.bytes }
            return try Log.open(directory: log.dir, options: options)
        }
        try LogExerciser(opened, inFlight: inFlight).run()
    }
}
