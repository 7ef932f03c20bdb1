internal import WriteAheadLog

/// The machine under test of the honesty test: writes numbers and tells each one once it is durable;
/// after the power cut it compares.
struct DiskHonesty {
    let directory: String
    let remote: String

    /// Until the plug is pulled.
    func write() throws(CommandFailure) {
        let run = LogIdentifier(bytes: (0..<16).map { _ in UInt8.random(in: 0...255) })
        let socket = try TestSocket.connect(to: remote)
        let blocks = try DiskError.wrap { () throws(DiskError) in
            try NumberedBlocks.create(LinuxDisk(), directory: directory, run: run)
        }
        let isThere = socket.send("begin \(run.hexadecimal)")
        StandardOutput.line("run \(run.hexadecimal): pull the plug now")
        StandardOutput.flush()
        guard isThere else { throw lost }
        while true {
            let number = try DiskError.wrap { () throws(DiskError) in try blocks.writeNext() }
            guard socket.send("acknowledged \(number)") else { throw lost }
        }
    }

    private var lost: CommandFailure {
        CommandFailure(
            .unavailable,
            "\(remote) is gone while this machine has power; begin again once it listens")
    }

    func check(json: Bool) throws(CommandFailure) {
        let found = try DiskError.wrap { () throws(DiskError) in
            try NumberedBlocks.find(LinuxDisk(), directory: directory)
        }
        guard let run = found.run else {
            throw CommandFailure(
                .failure,
                "no number can be read in \(directory)/\(NumberedBlocks.fileName): either the disk "
                    + "lost everything or nothing was written")
        }
        let socket = try TestSocket.connect(to: remote)
        guard socket.send("ask \(run.hexadecimal)"), let answer = socket.line() else {
            throw CommandFailure(.unavailable, "\(remote) does not answer")
        }
        guard answer.hasPrefix("known "), let acknowledged = UInt64(answer.dropFirst(6)) else {
            throw CommandFailure(
                .failure,
                "\(remote) does not know run \(run.hexadecimal); was it restarted since?")
        }
        // The block of an older number may have been given to one up to the next that was coming.
        let window = UInt64(NumberedBlocks.blockCount)
        let missing = found.missing.filter {
            $0 <= acknowledged && acknowledged - $0 + 1 < window
        }.count
        let after = acknowledged > found.greatest ? acknowledged - found.greatest : 0
        let isHonest = missing == 0 && after == 0
        if json {
            StandardOutput.json(
                .object([
                    ("run", .text(run.hexadecimal)), ("acknowledged", .unsigned(acknowledged)),
                    ("found", .unsigned(found.greatest)),
                    ("lost", .unsigned(after + UInt64(missing))), ("honest", .flag(isHonest)),
                ]))
        } else {
            StandardOutput.line(
                "acknowledged up to \(acknowledged), found up to \(found.greatest), "
                    + "\(missing) of those before it not readable")
        }
        guard isHonest else {
            throw CommandFailure(
                .failure,
                "the disk lost \(after + UInt64(missing)) writes that it had acknowledged; do not keep "
                    + "a log on it before its cache is off or protected")
        }
        if !json {
            StandardOutput.line(
                "nothing acknowledged is missing this time; a disk that lies may be lucky, so pull the "
                    + "plug ten times")
        }
    }
}
