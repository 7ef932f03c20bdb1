/// One thing that is wrong with the configuration, and where.
package struct ConfigurationProblem: Sendable, Equatable, CustomStringConvertible {
    package let file: String
    /// Counted from 1; nil when the whole file is meant.
    package let position: YAMLPosition?
    package let sentence: String

    package init(file: String, position: YAMLPosition?, sentence: String) {
        self.file = file
        self.position = position
        self.sentence = sentence
    }

    package var description: String {
        guard let position else { return "\(file): \(sentence)" }
        return "\(file):\(position.line):\(position.column): \(sentence)"
    }
}

/// A place in a configuration file, counted from 1.
package struct YAMLPosition: Sendable, Equatable, Comparable {
    package let line: Int
    package let column: Int

    package static func < (left: YAMLPosition, right: YAMLPosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// Why a configuration was refused: every problem found, in the order of the files.
package struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    package let problems: [ConfigurationProblem]
    /// The command that makes what is missing.
    package let command: String?

    package init(problems: [ConfigurationProblem], command: String? = nil) {
        precondition(!problems.isEmpty, "a refusal names at least one problem")
        self.problems = problems
        self.command = command
    }

    package var description: String {
        var lines = problems.map(\.description)
        if let command { lines.append("make it with: \(command)") }
        return lines.joined(separator: "\n")
    }
}
