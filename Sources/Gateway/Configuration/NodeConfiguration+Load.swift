internal import Glibc
internal import RPC

extension NodeConfiguration {
    package static let mainFile = "bsfg.yaml"
    package static let peersFile = "peers.yaml"
    package static let cursorsFile = "cursors.yaml"

    /// Reads and checks the three files of `directory`, or of `directory/config` where `init` put
    /// them. The path of `bsfg.yaml` itself stands for its directory. Everything that is wrong is
    /// reported at once, except across files: those checks need files that are right by themselves.
    package static func load(
        directory given: String
    ) throws(ConfigurationError) -> NodeConfiguration {
        let directory = filesDirectory(given)
        let paths = ConfigurationPaths(directory: directory)
        let problems = ProblemList()

        let mainPath = "\(directory)/\(mainFile)"
        guard exists(mainPath) else {
            throw missing(mainPath, command: initCommand(root: paths.root))
        }
        let main = NodeFile(
            try YAMLTree.parse(try read(mainPath), file: mainPath), file: mainPath, paths: paths,
            problems: problems)
        var trees: [YAMLTree] = []
        for name in [peersFile, cursorsFile] {
            let path = "\(directory)/\(name)"
            guard exists(path) else {
                throw missing(path, command: initCommand(root: paths.root, main))
            }
            trees.append(try YAMLTree.parse(try read(path), file: path))
        }
        let peers = PeersFile(
            trees[0], file: "\(directory)/\(peersFile)", main: main, paths: paths,
            problems: problems)
        let cursors = CursorsFile(
            trees[1], file: "\(directory)/\(cursorsFile)", problems: problems)
        try problems.throwIfAny()
        CrossChecks(main: main, peers: peers, cursors: cursors, problems: problems).run()
        try problems.throwIfAny()
        return main.configuration(
            directory: paths.directory, peers: peers.peers.map(\.value),
            cursors: cursors.cursors.map(\.value))
    }

    /// Where the files of what a command was given are.
    private static func filesDirectory(_ given: String) -> String {
        var found = stat()
        if given.split(separator: "/").last?.utf8.elementsEqual(mainFile.utf8) == true,
            stat(given, &found) == 0, found.st_mode & S_IFMT == S_IFREG
        {
            guard let slash = given.lastIndex(of: "/") else { return "." }
            return slash == given.startIndex ? "/" : String(given[..<slash])
        }
        let nested = "\(given)/config"
        return !exists("\(given)/\(mainFile)") && exists("\(nested)/\(mainFile)") ? nested : given
    }

    /// The administration socket of a configuration that cannot be read as a whole: the default one, in the data
    /// directory that its file seems to name. Nil where there is none.
    package static func likelySocketPath(directory given: String) -> String? {
        let paths = ConfigurationPaths(directory: filesDirectory(given))
        let bytes = (try? read("\(paths.directory)/\(mainFile)")) ?? []
        let key = "data:"
        let named = String(decoding: bytes, as: UTF8.self).split(separator: "\n").last { $0.hasPrefix(key) }
        let data = named?.dropFirst(key.count).split(separator: " ").first.map(String.init) ?? "../data"
        let path = "\(paths.absolute(data.filter { $0 != "\"" && $0 != "'" }))/admin.sock"
        var found = stat()
        return stat(path, &found) == 0 && found.st_mode & S_IFMT == S_IFSOCK ? path : nil
    }

    private static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    private static func read(_ path: String) throws(ConfigurationError) -> [UInt8] {
        do {
            return try SmallFile.read(path, bytesMaximum: YAMLTree.bytesMaximum)
        } catch {
            throw ConfigurationError(problems: [
                ConfigurationProblem(file: path, position: nil, sentence: error.sentence)
            ])
        }
    }

    private static func missing(_ path: String, command: String) -> ConfigurationError {
        ConfigurationError(
            problems: [
                ConfigurationProblem(file: path, position: nil, sentence: "the file does not exist")
            ], command: command)
    }

    private static func initCommand(root: String, _ main: NodeFile? = nil) -> String {
        "bsfg init --root \(shellQuoted(root)) --zone \(main?.zone?.value ?? "ZONE") --identity "
            + "\(shellQuoted(main?.identity?.value ?? "ZONE-bsfg")) --address ADDRESS"
    }
}
