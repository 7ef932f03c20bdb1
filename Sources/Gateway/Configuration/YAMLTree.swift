internal import Yams

/// A configuration file as a tree of texts with their places. A scalar has no type of its own: the
/// key that asks decides, so `id: no` is the text "no".
indirect enum YAMLTree {
    case scalar(String, YAMLPosition)
    case sequence([YAMLTree], YAMLPosition)
    case mapping([(key: String, position: YAMLPosition, value: YAMLTree)], YAMLPosition)

    static let bytesMaximum = 1 << 20

    var position: YAMLPosition {
        switch self {
        case .scalar(_, let position), .sequence(_, let position), .mapping(_, let position):
            position
        }
    }

    /// Parses a whole file; an empty one is an empty mapping.
    static func parse(
        _ bytes: [UInt8], file: String
    ) throws(ConfigurationError) -> YAMLTree {
        func refuse(_ position: YAMLPosition?, _ sentence: String) -> ConfigurationError {
            ConfigurationError(problems: [
                ConfigurationProblem(file: file, position: position, sentence: sentence)
            ])
        }
        guard bytes.count <= bytesMaximum else {
            throw refuse(
                nil, "the file has \(bytes.count) bytes, at most \(bytesMaximum) are accepted")
        }
        guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw refuse(nil, "the file is not UTF-8 text")
        }
        if let (position, sentence) = YAMLGuard.problem(text) { throw refuse(position, sentence) }
        let start = YAMLPosition(line: 1, column: 1)
        do {
            guard let root = try Yams.compose(yaml: text, .basic, .default, .utf8) else {
                return .mapping([], start)
            }
            return try Converter(text: text).tree(root)
        } catch let refusal as Refusal {
            throw refuse(refusal.position, refusal.sentence)
        } catch let error as YamlError {
            if let (position, key) = listBelowEmptyOne(text) {
                throw refuse(
                    position, "the list of '\(key)' begins here and the line above calls it empty; take the [] away")
            }
            let (position, sentence) = describe(error)
            throw refuse(position, sentence)
        } catch {
            throw refuse(nil, "the file cannot be read as YAML: \(error)")
        }
    }

    /// The template has `key: []` and its entries as comments below it: where those were brought in and the
    /// brackets left.
    private static func listBelowEmptyOne(_ text: String) -> (YAMLPosition, String)? {
        var key: Substring?
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let content = line.prefix { $0 != "#" }
            guard let start = content.firstIndex(where: { $0 != " " && $0 != "\r" }) else { continue }
            if let key, content[start...].hasPrefix("- ") {
                let column = content.distance(from: content.startIndex, to: start)
                return (YAMLPosition(line: number + 1, column: column + 1), String(key))
            }
            let isEmptyList = content.filter { $0 != " " && $0 != "\r" }.hasSuffix(":[]")
            key = start == content.startIndex && isEmptyList ? content.prefix { $0 != ":" } : nil
        }
        return nil
    }

    private static func describe(_ error: YamlError) -> (YAMLPosition?, String) {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return (YAMLPosition(mark), "this is not valid YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.sorted().map { "'\($0)'" }.joined(separator: ", ")
            return (YAMLPosition(context.mark), "the key \(keys) is given twice; keep one")
        case .reader(let problem, _, _, _):
            return (nil, "the file has a character that YAML does not allow: \(problem)")
        default:
            return (nil, "the file cannot be read as YAML")
        }
    }
}

private struct Refusal: Error {
    let position: YAMLPosition
    let sentence: String
}

extension YAMLPosition {
    fileprivate init(_ mark: Mark) {
        self.init(line: mark.line, column: mark.column)
    }
}

/// Turns the parser's nodes into ours. It looks at the source once more where each node begins:
/// Yams resolves aliases and forgets anchors and tags, the text does not.
private struct Converter {
    private let lines: [[Unicode.Scalar]]

    init(text: String) {
        lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
            .map(Array.init)
    }

    func tree(_ node: Node, depth: Int = 0) throws -> YAMLTree {
        guard let mark = node.mark else {
            throw Refusal(
                position: YAMLPosition(line: 1, column: 1),
                sentence: "a part of this file has no place; write it more simply")
        }
        let position = YAMLPosition(mark)
        try checkProperties(position)
        guard depth <= YAMLGuard.depthMaximum else {
            throw Refusal(position: position, sentence: "nested too deeply")
        }
        switch node {
        case .scalar(let scalar):
            return .scalar(scalar.string, position)
        case .sequence(let sequence):
            return .sequence(try sequence.map { try tree($0, depth: depth + 1) }, position)
        case .mapping(let mapping):
            var entries: [(key: String, position: YAMLPosition, value: YAMLTree)] = []
            var seen: Set<[UInt8]> = []
            for (key, value) in mapping {
                guard case .scalar(let key, let keyPosition) = try tree(key, depth: depth + 1)
                else {
                    throw Refusal(position: position, sentence: "a key must be a word")
                }
                guard seen.insert(Array(key.utf8)).inserted else {
                    throw Refusal(
                        position: keyPosition, sentence: "the key '\(key)' is given twice; keep one"
                    )
                }
                entries.append((key, keyPosition, try tree(value, depth: depth + 1)))
            }
            return .mapping(entries, position)
        case .alias:
            throw Refusal(position: position, sentence: "YAML aliases are not accepted")
        }
    }

    private func checkProperties(_ position: YAMLPosition) throws {
        guard position.line >= 1, position.line <= lines.count else { return }
        let line = lines[position.line - 1]
        guard position.column >= 1, position.column <= line.count else { return }
        switch line[position.column - 1] {
        case "&", "*", "!":
            throw Refusal(
                position: position,
                sentence: "YAML anchors, aliases and tags are not accepted; write the value out")
        default:
            return
        }
    }
}
