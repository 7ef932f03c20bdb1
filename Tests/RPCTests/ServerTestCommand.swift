import Foundation
import Synchronization

/// What a command left behind.
struct CommandResult: Sendable {
    var exit: Int32
    var output: [UInt8]
    var error: String
    var text: String { String(decoding: output, as: UTF8.self) }
}

/// Runs a command to its end. The reading happens on threads of its own: a test that blocks the
/// few threads of Swift's pool would stop the others.
func run(_ command: String, _ arguments: [String], input: [UInt8]? = nil) async -> CommandResult {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [command] + arguments
            let (output, error, stdin) = (Pipe(), Pipe(), Pipe())
            process.standardOutput = output
            process.standardError = error
            process.standardInput = input == nil ? FileHandle.nullDevice : stdin
            do {
                try process.run()
            } catch {
                return continuation.resume(
                    returning: CommandResult(exit: -1, output: [], error: "\(error)"))
            }
            if let input {
                Thread.detachNewThread {
                    try? stdin.fileHandleForWriting.write(contentsOf: Data(input))
                    try? stdin.fileHandleForWriting.close()
                }
            }
            let errorBytes = Mutex<Data>(Data())
            let done = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                let bytes = error.fileHandleForReading.readDataToEndOfFile()
                errorBytes.withLock { $0 = bytes }
                done.signal()
            }
            let outputBytes = output.fileHandleForReading.readDataToEndOfFile()
            done.wait()
            process.waitUntilExit()
            continuation.resume(
                returning: CommandResult(
                    exit: process.terminationStatus, output: Array(outputBytes),
                    error: String(decoding: errorBytes.withLock { $0 }, as: UTF8.self)))
        }
    }
}
