internal import ArgumentParser
internal import Gateway

/// Says which word of a command line is no command. The parser would take it for an argument and complain of
/// the first option behind it.
enum CommandWords {
    /// Nil when the words lead to a command.
    static func problem(_ arguments: some Sequence<String>, _ root: any ParsableCommand.Type) -> String? {
        var command: any ParsableCommand.Type = root
        var path = [root._commandName]
        for word in arguments {
            let next = command.configuration.subcommands
            // The parser's own command for help names others behind it.
            if next.isEmpty || word.hasPrefix("-") || path.count == 1 && word == "help" { return nil }
            guard let found = next.first(where: { $0._commandName == word }) else {
                let shown = next.filter { $0.configuration.shouldDisplay }.map { $0._commandName }
                return "there is no command '\((path + [word]).joined(separator: " "))'; "
                    + NearestName.hint(for: word, among: shown)
            }
            command = found
            path.append(word)
        }
        return nil
    }
}
