internal import Buffers
package import WriteAheadLog

/// Who is declared to read a log, before anybody has come.
extension NodeConfiguration {
    /// Whether anybody is granted a log: truncation waits for its readers, also before they come. A log
    /// without readers is terminal (gateway decision 11).
    package func hasReaders(stream: String, origin: String) -> Bool {
        peers.contains { $0.mayTake(stream, origin) }
            || clients.contains {
                $0.roles.contains(.consumer) && names($0.streams, stream)
                    && names($0.origins, origin)
            }
    }

    /// The cursors that truncation waits for although they may not exist yet: those of the peers that are
    /// granted a log and required. Clients make as many or few as they like, so theirs count from when
    /// they are made; and a peer that may be left behind is no reason to hold anything before it came.
    package func awaitedReaders(stream: String, origin: String) -> [AwaitedReader] {
        peers.filter { $0.mayTake(stream, origin) && $0.hold == .required }.map {
            AwaitedReader(owner: $0.identity, name: "\($0.id)/\(stream)/\(origin)")
        }
    }
}

extension PeerConfiguration {
    fileprivate func mayTake(_ stream: String, _ origin: String) -> Bool {
        authorized && names(streams, stream) && names(origins, origin)
    }
}

private func names(_ list: [String], _ name: String) -> Bool {
    list.contains { $0.utf8.elementsEqual(name.utf8) }
}
