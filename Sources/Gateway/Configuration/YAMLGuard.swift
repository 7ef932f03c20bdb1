/// Reads a configuration file's letters before the parser does and stops at the first anchor, alias,
/// tag, merge key, directive, block scalar or too deep nesting. None has a use in a configuration;
/// aliases can make a small file huge, tags and merges hide what a key means.
struct YAMLGuard {
    static let depthMaximum = 32

    private let scalars: [Unicode.Scalar]
    private var index = 0
    private var line = 1
    private var column = 1
    private var flowDepth = 0

    /// What is refused, and where; nil when the parser may read it.
    static func problem(_ text: String) -> (YAMLPosition, String)? {
        var scan = YAMLGuard(scalars: Array(text.unicodeScalars))
        return scan.run()
    }

    private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

    private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }
    private var next: Unicode.Scalar? { index + 1 < scalars.count ? scalars[index + 1] : nil }

    private mutating func advance() {
        if scalars[index] == "\n" {
            line += 1
            column = 1
        } else {
            column += 1
        }
        index += 1
    }

    /// At the start of a token each time round.
    private mutating func run() -> (YAMLPosition, String)? {
        while let scalar = current {
            let position = YAMLPosition(line: line, column: column)
            switch scalar {
            case " ", "\n", "\r", ",", ":":
                advance()
            case "\t":
                return (position, "a tab is not indentation; use spaces")
            case "-" where isBlank(next), "?" where isBlank(next):
                advance()
            case "#":
                skipLine()
            case "[", "{":
                flowDepth += 1
                if flowDepth > Self.depthMaximum { return (position, Self.tooDeep) }
                advance()
            case "]", "}":
                flowDepth = max(0, flowDepth - 1)
                advance()
            case "\"", "'":
                skipQuoted(scalar)
            default:
                if let refused = refusal(of: scalar) { return (position, refused) }
                if scalar == "%" && column == 1 {
                    return (position, "YAML directives are not accepted; remove the line")
                }
                // Each level of a block needs at least one column.
                if flowDepth == 0 && column > Self.depthMaximum * 8 { return (position, Self.tooDeep) }
                skipPlain()
            }
        }
        return nil
    }

    private static let tooDeep = "nested too deeply; the configuration has no such levels"

    private func refusal(of scalar: Unicode.Scalar) -> String? {
        switch scalar {
        case "&": "YAML anchors are not accepted; write the value out, or quote it"
        case "*": "YAML aliases are not accepted; write the value out, or quote it"
        case "!": "YAML tags are not accepted; remove it, or quote the value"
        case "|", ">": "YAML block scalars are not accepted; write the value on one line"
        case "<" where next == "<": "YAML merge keys are not accepted; write the keys out"
        default: nil
        }
    }

    private func isBlank(_ scalar: Unicode.Scalar?) -> Bool {
        scalar == nil || scalar == " " || scalar == "\n" || scalar == "\r"
    }

    private mutating func skipLine() {
        while let scalar = current, scalar != "\n" { _ = scalar; advance() }
    }

    private mutating func skipQuoted(_ quote: Unicode.Scalar) {
        advance()
        while let scalar = current {
            advance()
            if scalar == "\\" && quote == "\"" {
                if current != nil { advance() }
            } else if scalar == quote {
                if quote == "'" && current == "'" { advance() } else { return }
            }
        }
    }

    /// A plain scalar ends with its line, at `: `, at ` #` and, in a flow, at its punctuation.
    private mutating func skipPlain() {
        while let scalar = current {
            switch scalar {
            case "\n":
                return
            case ":" where isBlank(next) || (flowDepth > 0 && (next == "," || next == "]" || next == "}")):
                return
            case " " where next == "#":
                return
            case ",", "[", "]", "{", "}":
                if flowDepth > 0 { return }
                advance()
            default:
                advance()
            }
        }
    }
}
