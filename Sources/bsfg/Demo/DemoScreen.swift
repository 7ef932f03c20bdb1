internal import Glibc

/// Draws the demo: a line for every stage, and below them one that lives on a terminal. Elsewhere
/// the live line is printed every two seconds.
actor DemoScreen {
    enum Mark {
        case done, fault, step, failed
    }

    private let descriptor: Int32
    private let isTerminal: Bool
    private let hasColour: Bool
    private let start = Pacing.seconds()
    private var live = ""
    private var printedAt = 0.0

    init(descriptor: Int32) {
        self.descriptor = descriptor
        let term = getenv("TERM").map { String(cString: $0) } ?? "dumb"
        isTerminal = isatty(descriptor) == 1 && term != "dumb"
        hasColour = isTerminal && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true)
    }

    var elapsed: Double { Pacing.seconds() - start }

    func title(_ text: String) { write(styled(text, "1") + "\n") }

    /// A stage of the story.
    func stage(_ mark: Mark, _ text: String) {
        let sign =
            switch mark {
            case .done: styled("✔", "32")
            case .fault: styled("✘", "33;1")
            case .step: styled("▸", "36")
            case .failed: styled("✘", "31;1")
            }
        let time = DemoText.padded(DemoText.decimal(elapsed, 1), 5)
        write(erase + " \(sign) " + styled("\(time) s", "2") + "  \(text)\n" + shown)
    }

    /// What the live line shows: nodes and link, facts, rate and lag.
    struct Live: Sendable {
        var acknowledged = 0
        var rows = 0
        var forward: UInt64 = 0
        var lag: UInt64 = 0
        var factsPerSecond = 0.0
        var isSourceUp = true
        var isLinkUp = true
        var isReceiverUp = true
    }

    func show(_ state: Live) {
        let parts = [
            node(TwoZoneSite.source, state.isSourceUp),
            state.isLinkUp ? styled("══▶", "32") : styled("═ ✂ ", "33;1"),
            node(TwoZoneSite.receiver, state.isReceiverUp),
            bar(state.acknowledged, state.rows),
            "\(state.acknowledged)/\(state.rows)",
            "\(Int(state.factsPerSecond.rounded())) facts/s",
            "forward \(state.forward)", "lag \(state.lag)",
        ]
        live = "   " + parts.joined(separator: "  ")
        if isTerminal {
            write(erase + shown)
        } else if elapsed - printedAt >= 2 {
            printedAt = elapsed
            write(live + "\n")
        }
    }

    /// The end of the live line.
    func settle() {
        if isTerminal { write(erase) }
        live = ""
    }

    func text(_ text: String) { write(erase + text + "\n") }

    private func node(_ name: String, _ isUp: Bool) -> String {
        styled(isUp ? "●" : "○", isUp ? "32" : "31") + " " + name
    }

    private func bar(_ done: Int, _ all: Int) -> String {
        let width = 20
        let filled = all > 0 ? min(width, done * width / all) : 0
        return "["
            + styled(String(repeating: "█", count: filled), "32")
            + String(repeating: "·", count: width - filled) + "]"
    }

    private var erase: String { isTerminal ? "\r\u{1B}[2K" : "" }

    /// The live line, cut where the terminal ends so that it never wraps.
    private var shown: String {
        guard isTerminal, !live.isEmpty else { return "" }
        var size = winsize()
        let known = ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        return DemoText.cut(live, columns: known ? Int(size.ws_col) - 1 : 79)
    }

    private func styled(_ text: String, _ code: String) -> String {
        hasColour && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        var count = 0
        while count < bytes.count {
            let wrote = bytes.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            guard wrote > 0 || errno == EINTR else { return }
            count += max(0, wrote)
        }
    }
}

enum DemoText {
    static func decimal(_ value: Double, _ digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value * Double(scale)).rounded())
        let rest = String(whole % scale)
        return "\(whole / scale)."
            + String(repeating: "0", count: digits - rest.utf8.count) + rest
    }

    static func padded(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    /// `1 fact`, `2 facts`.
    static func count(_ number: some BinaryInteger, _ noun: String) -> String {
        "\(number) \(noun)\(number == 1 ? "" : "s")"
    }

    /// The first `columns` that are seen of a text with colours.
    static func cut(_ text: String, columns: Int) -> String {
        var output = ""
        var seen = 0
        var isEscape = false
        for character in text {
            if character == "\u{1B}" { isEscape = true }
            if !isEscape {
                guard seen < columns else { continue }
                seen += 1
            }
            output.append(character)
            if isEscape, character == "m" { isEscape = false }
        }
        return output
    }
}
