/// An artifact that was to come to a zone and was not there, at one moment.
package struct AwaitedArtifact: Sendable, Codable, Hashable {
    package var receiver: String
    package var zone: String
    package var name: String
}
