@testable import Gateway

/// Any bytes as the three files of a configuration. Loading never traps, names at most as many
/// problems as it promises, each within its file, and finds the same when asked again.
///
/// The files follow each other in the order bsfg.yaml, peers.yaml, cursors.yaml, a line `%%` before
/// the second and the third.
enum ConfigurationHarness {
    private static let separator = Array("\n%%\n".utf8)
    // No such directory is looked for; paths are only joined.
    private static let paths = ConfigurationPaths(directory: "/configuration")

    static func check(_ bytes: UnsafeRawBufferPointer) {
        let files = split(Array(bytes))
        let first = load(files)
        guard load(files) == first else {
            harnessFailure("the same files mean something else the second time")
        }
        guard first.count <= ProblemList.countMaximum else {
            harnessFailure("\(first.count) problems are named")
        }
    }

    private static func split(_ bytes: [UInt8]) -> [[UInt8]] {
        var files: [[UInt8]] = [[]]
        var place = 0
        while place < bytes.count {
            if files.count < 3, bytes[place...].starts(with: separator) {
                files.append([])
                place += separator.count
            } else {
                files[files.count - 1].append(bytes[place])
                place += 1
            }
        }
        return files
    }

    /// What is wrong, as it is told; empty for a configuration that a node starts with.
    private static func load(_ files: [[UInt8]]) -> [String] {
        let problems = ProblemList()
        do throws(ConfigurationError) {
            let main = NodeFile(
                try YAMLTree.parse(files[0], file: NodeConfiguration.mainFile),
                file: NodeConfiguration.mainFile, paths: paths, problems: problems)
            let peers = PeersFile(
                try YAMLTree.parse(
                    files.count > 1 ? files[1] : [], file: NodeConfiguration.peersFile),
                file: NodeConfiguration.peersFile, main: main, paths: paths, problems: problems)
            let cursors = CursorsFile(
                try YAMLTree.parse(
                    files.count > 2 ? files[2] : [], file: NodeConfiguration.cursorsFile),
                file: NodeConfiguration.cursorsFile, problems: problems)
            try problems.throwIfAny()
            CrossChecks(main: main, peers: peers, cursors: cursors, problems: problems).run()
            try problems.throwIfAny()
            let configuration = main.configuration(
                directory: paths.directory, peers: peers.peers.map(\.value),
                cursors: cursors.cursors.map(\.value))
            guard !configuration.zone.isEmpty, !configuration.listeners.isEmpty else {
                harnessFailure("a node would start without a zone or an address")
            }
            return []
        } catch {
            guard !error.problems.isEmpty else { harnessFailure("a refusal names no problem") }
            return error.problems.map { "\($0)" }
        }
    }
}
