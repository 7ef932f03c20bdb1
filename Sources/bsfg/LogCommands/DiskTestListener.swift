/// The second machine of the honesty test: keeps the greatest number that was acknowledged in each run.
///
/// Lines: `begin RUN`, then `acknowledged N` without answers; or `ask RUN`, answered by `known N`, or
/// `unknown` for a run that never came.
final class DiskTestListener {
    private static let runCountMaximum = 1000

    private let port: UInt16
    private var greatest: [String: UInt64] = [:]

    init(port: UInt16) { self.port = port }

    /// Until it is ended from outside.
    func run() throws(CommandFailure) -> Never {
        let listener = try TestSocket.listen(port: port)
        say("listening on port \(port)")
        while true {
            // One after the other: the next connection is the same machine after its start.
            serve(try TestSocket.accept(listener))
        }
    }

    private func serve(_ socket: TestSocket) {
        guard let first = socket.line() else { return }
        let words = first.split(separator: " ").map(String.init)
        guard words.count == 2, words[1].utf8.count == 32 else { return }
        let run = words[1]
        switch words[0] {
        case "begin":
            guard greatest.count < DiskTestListener.runCountMaximum else { return }
            greatest[run] = 0
            say("run \(run) began")
            while let line = socket.line() {
                let words = line.split(separator: " ")
                guard words.count == 2, words[0] == "acknowledged", let number = UInt64(words[1])
                else { break }
                greatest[run] = max(greatest[run] ?? 0, number)
            }
            say("run \(run) fell silent after \(greatest[run] ?? 0)")
        case "ask":
            _ = socket.send(greatest[run].map { "known \($0)" } ?? "unknown")
        default:
            break
        }
    }

    private func say(_ text: String) {
        StandardOutput.line(text)
        StandardOutput.flush()
    }
}
