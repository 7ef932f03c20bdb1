internal import ArgumentParser
internal import Facts
internal import Gateway
internal import WriteAheadLog

struct LogAppend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "append",
        abstract: "Appends a record a line from standard input.",
        discussion: """
            Prints OFFSET<TAB>OUTCOME for each line, in the order of the input and only once that \
            record is durable; the outcome is appended, existing or conflict. With --keyed a line is \
            KEY<TAB>PAYLOAD: the same key and payload again is existing, with another payload \
            conflict.

            For logs of your own. In a node's log such a record is no fact, and every reader of that \
            log stops there: use bsfg fact append or bsfg ingest for a node.

            Each line is an append of its own, up to --in-flight of them at once; what is under way \
            together becomes durable together. A line that got no answer may or may not be in the log: \
            send it again with its key.

            Exit status: 0 every line was answered; 1 the log failed, is damaged, or refused a line; \
            2 wrong command line or a line without a tab; 4 another process writes the log, or there is \
            no room: try again.
            """)

    @OptionGroup var log: LogDirectory

    @Flag(help: "Lines are KEY<TAB>PAYLOAD.")
    var keyed = false

    @Option(help: "How many lines may be under way at once, up to 4096.")
    var inFlight = 64

    @Option(
        name: [.customLong("segment-bytes"), .customLong("segment")],
        help: "Bytes of segments to be made, such as 1MiB; a 64th of the capacity.")
    var segment: ByteQuantity?

    @Option(help: "Bytes that the log may fill from now on; 1GiB.")
    var capacity: ByteQuantity?

    @Option(
        help: "reject or drop_oldest: what a full log does. A sil_strict log never drops a record.")
    var whenFull: String?

    @Option(help: "The fill, from 0.1 to 0.95, from which a full log refuses or drops.")
    var highWatermark: Double?

    @Option(help: "The fill at which records are taken again.")
    var lowWatermark: Double?

    @Flag(help: "The log has no readers: records count as confirmed once they are durable.")
    var terminal = false

    @Option(help: "standard or sil_strict; when the log is there already, what it was made with.")
    var profile: ProfileArgument?

    func validate() throws {
        guard (1...4096).contains(inFlight) else {
            throw ValidationError("--in-flight is from 1 to 4096.")
        }
    }

    func run() throws {
        try log.refuseLogOfNode()
        let opened = try LogError.wrap { () throws(LogError) in
            try Log.open(directory: log.dir, options: try options())
        }
        let appender = LineAppender(opened, isKeyed: keyed, inFlight: inFlight)
        let failure = appender.run()
        opened.close()
        if let failure { throw failure }
    }

    private func options() throws(LogError) -> LogOptions {
        var profile = profile?.profile
        if profile == nil { profile = try LogInspector.storedProfile(directory: log.dir) }
        // Nobody said that what is appended here may ever go; under sil_strict it never does.
        var options = LogOptions(
            policy: try LogPolicy.parse(
                profile: (profile ?? .standard).name, whenFull: whenFull,
                unconfirmedLifetime: .never))
        if let capacity { options.capacityBytes = capacity.bytes }
        options.segmentBytes = segment?.bytes
        if let highWatermark { options.retention.highWatermark = highWatermark }
        if let lowWatermark { options.retention.lowWatermark = lowWatermark }
        options.retention.isTerminal = terminal
        return options
    }
}
