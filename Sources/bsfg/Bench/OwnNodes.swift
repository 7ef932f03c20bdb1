internal import Gateway
internal import Glibc

/// Runs a benchmark with nodes of its own in a temporary directory, which is gone afterwards, also after
/// Ctrl-C.
enum OwnNodes {
    static func run<Value>(
        _ settings: TwoZoneSite.Settings, keep: Bool,
        _ body: (TwoZoneSite) async throws -> Value
    ) async throws -> Value {
        let directory = try TwoZoneSite.makeDirectory(for: "bench")
        Interruption.handle {
            ChildProcesses.shared.closeAll()
            if !keep { TwoZoneSite.remove(directory) }
            StandardError.line("\nbsfg: interrupted; the nodes are stopped")
        }
        defer {
            Interruption.withoutInterruption {
                ChildProcesses.shared.closeAll()
                if keep {
                    StandardError.line("data and logs are in \(directory)")
                } else {
                    TwoZoneSite.remove(directory)
                }
            }
        }
        let site = try Interruption.withoutInterruption {
            try CommandFailure.wrap {
                try TwoZoneSite(directory: directory, settings: settings)
            }
        }
        return try await body(site)
    }

    /// Room for this many facts, confirmed or not, below the high watermark.
    static func settings(facts: Int, messageBytes: Int) -> TwoZoneSite.Settings {
        // A stored record, its place in the index and in a frame take less than this beside the message.
        let bytes = Double(facts) * Double(messageBytes + 256) / 0.8
        var settings = TwoZoneSite.Settings()
        settings.capacity = "\(max(1, Int((bytes / Double(1 << 30)).rounded(.up))))GiB"
        settings.segment = nil
        settings.isRelayed = false
        settings.logLevel = "warning"
        return settings
    }
}
