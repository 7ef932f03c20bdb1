/// What one zone's configuration says about federation, read from the lines that `bsfg config show` has:
/// files, a running node and exported evidence all say it so.
package struct FederationSide: Sendable, Equatable {
    package struct Peer: Sendable, Equatable {
        package var id: String
        package var identity = ""
        /// Nil for a peer that is never called.
        package var endpoint: String?
        package var isAuthorised = false
        package var streams: [String] = []
        package var origins: [String] = []
        package var artifacts: [String] = []
        package var isManual = false
    }

    package struct Pull: Sendable, Equatable {
        package var peer = ""
        package var stream: String
        package var origin: String
        package var initMode = ""
        package var justification: String?
    }

    package private(set) var zone = ""
    package private(set) var identity = ""
    package private(set) var peers: [Peer] = []
    package private(set) var pulls: [Pull] = []
    /// The profile of each stream.
    package private(set) var profiles: [(stream: String, profile: String)] = []

    package init(_ configuration: NodeConfiguration) {
        self.init(
            lines: ConfigurationListing(configuration).lines.map {
                NodeEvidence.Line(key: $0.key, value: $0.value)
            })
    }

    package init(_ evidence: NodeEvidence) { self.init(lines: evidence.configuration) }

    /// Unknown keys are passed over: the other side may be of another release.
    package init(lines: [NodeEvidence.Line]) {
        for line in lines { read(line) }
    }

    package static func == (one: FederationSide, other: FederationSide) -> Bool {
        one.zone.utf8.elementsEqual(other.zone.utf8)
            && one.identity.utf8.elementsEqual(other.identity.utf8) && one.peers == other.peers
            && one.pulls == other.pulls
    }

    package func peer(_ id: String) -> Peer? { peers.first { $0.id.utf8.elementsEqual(id.utf8) } }

    package func pulls(from peer: String) -> [Pull] {
        pulls.filter { $0.peer.utf8.elementsEqual(peer.utf8) }
    }

    package func profile(of stream: String) -> String? {
        profiles.first { $0.stream.utf8.elementsEqual(stream.utf8) }?.profile
    }

    // MARK: - Lines

    private mutating func read(_ line: NodeEvidence.Line) {
        // Names may have points, the last word of a key has none.
        guard let point = line.key.lastIndex(of: ".") else {
            switch line.key {
            case "zone": zone = line.value
            case "identity": identity = line.value
            default: break
            }
            return
        }
        let (name, word) = (line.key[..<point], line.key[line.key.index(after: point)...])
        if let id = Self.rest(of: name, after: "peers.") {
            read(peer: id, String(word), line.value)
        } else if let pair = Self.rest(of: name, after: "cursors.") {
            read(pull: pair, String(word), line.value)
        } else if let stream = Self.rest(of: name, after: "streams."), word == "profile" {
            profiles.append((stream, line.value))
        }
    }

    private mutating func read(peer id: String, _ word: String, _ value: String) {
        let index: Int
        if let known = peers.firstIndex(where: { $0.id.utf8.elementsEqual(id.utf8) }) {
            index = known
        } else {
            peers.append(Peer(id: id))
            index = peers.count - 1
        }
        switch word {
        case "identity": peers[index].identity = value
        case "endpoint": peers[index].endpoint = value == "none" ? nil : value
        case "authorized": peers[index].isAuthorised = value == "true"
        case "streams": peers[index].streams = Self.list(value)
        case "origins": peers[index].origins = Self.list(value)
        case "artifacts": peers[index].artifacts = Self.list(value)
        case "start": peers[index].isManual = value == "manual"
        default: break
        }
    }

    private mutating func read(pull pair: String, _ word: String, _ value: String) {
        guard let slash = pair.firstIndex(of: "/") else { return }
        let stream = String(pair[..<slash])
        let origin = String(pair[pair.index(after: slash)...])
        let index: Int
        if let known = pulls.firstIndex(where: {
            $0.stream.utf8.elementsEqual(stream.utf8) && $0.origin.utf8.elementsEqual(origin.utf8)
        }) {
            index = known
        } else {
            pulls.append(Pull(stream: stream, origin: origin))
            index = pulls.count - 1
        }
        switch word {
        case "peer": pulls[index].peer = value
        case "init_mode": pulls[index].initMode = value
        case "justification": pulls[index].justification = value
        default: break
        }
    }

    private static func rest(of name: Substring, after prefix: String) -> String? {
        name.utf8.starts(with: prefix.utf8) ? String(name.dropFirst(prefix.count)) : nil
    }

    /// `[a, b]`
    private static func list(_ value: String) -> [String] {
        value.dropFirst().dropLast().split(separator: ",").map { item in
            String(item.drop { $0 == " " })
        }
    }
}
