internal import ArgumentParser
internal import Gateway
internal import RPC
internal import WriteAheadLog

struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Works on one log in a directory, without a node; 'alarm' asks a node.",
        subcommands: [
            LogAlarm.self,
            LogAppend.self,
            LogBeginEpoch.self,
            LogDiskTest.self,
            LogDump.self,
            LogExercise.self,
            LogInfo.self,
            LogRepairCommand.self,
            LogSimulate.self,
            LogVerify.self,
        ])
}

/// The directory that every log command works on.
struct LogDirectory: ParsableArguments {
    @Option(help: ArgumentHelp(
            "The log's directory; a node's are DATA/store/STREAM and DATA/forward/STREAM/ORIGIN.",
            valueName: "DIR"))
    var dir: String

    /// For commands that write. A node's logs lie two or three levels below its marker.
    func refuseLogOfNode() throws {
        for levels in ["../..", "../../.."] {
            guard CertificateFiles.exists("\(dir)/\(levels)/\(StreamLogs.markerName)") else {
                continue
            }
            throw CommandFailure(
                .usage,
                "\(dir) is a node's log, whose readers would stop at a record that is no fact; use "
                    + "bsfg fact append or bsfg ingest")
        }
    }

    /// Runs a step that makes files. As root they become the log's owner's, half way too: its node could
    /// not open it otherwise.
    func keepingOwner<Value>(_ body: () throws -> Value) throws -> Value {
        let result = Result { try body() }
        do throws(CertificateError) {
            try FileOwner.giveContents(of: dir)
        } catch {
            if case .success = result { throw CommandFailure(.failure, error.sentence) }
        }
        return try result.get()
    }
}

extension LogError {
    /// What a command ends with: one sentence and whether trying again can help.
    var commandFailure: CommandFailure {
        let status: ExitStatus =
            switch self {
            case .locked, .rejected(.noSpace), .rejected(.overloaded), .rejected(.full),
                .rejected(.lowSpace), .rejected(.indexRebuilding):
                .unavailable
            case .rejected(.invalidOptions), .profileMismatch: .usage
            default: .failure
            }
        return CommandFailure(status, sentence)
    }

    /// Runs a step on a log; its error becomes the command's.
    static func wrap<Value>(_ body: () throws(LogError) -> Value) throws(CommandFailure) -> Value {
        do throws(LogError) { return try body() } catch { throw error.commandFailure }
    }
}

/// `64KiB`, `16MiB`, `4096`.
struct ByteQuantity: ExpressibleByArgument {
    let bytes: UInt64

    init?(argument: String) {
        guard let bytes = Quantity.bytes(argument) else { return nil }
        self.bytes = UInt64(bytes)
    }
}

/// A profile as the command line names it.
enum ProfileArgument: String, ExpressibleByArgument, CaseIterable {
    case standard
    case silStrict = "sil_strict"

    var profile: Profile { self == .standard ? .standard : .silStrict }
}
