import Foundation
import Testing

@testable import Gateway

@Suite struct LogsOfDirectoryTests {
    @Test("whose the logs are is kept beside them, and another zone is refused")
    func anotherZone() throws {
        let bench = try ServicesBench()
        let mark = "\(bench.configuration.dataDirectory)/\(LogsOfDirectory.zoneFileName)"
        #expect(try String(contentsOfFile: mark, encoding: .utf8) == "\(bench.configuration.zone)\n")
        #expect(LogsOfDirectory(bench.configuration.dataDirectory).refusal(bench.configuration) == nil)
        try "elsewhere\n".write(toFile: mark, atomically: true, encoding: .utf8)
        let refusal = LogsOfDirectory(bench.configuration.dataDirectory).refusal(bench.configuration)
        #expect(refusal?.contains("are zone elsewhere's") == true)
    }

    @Test func `a node whose mark cannot be written starts all the same, and says so`() async throws {
        var bench = try ServicesBench()
        let (files, directory) = (bench.files, bench.configuration.dataDirectory)
        await bench.close()
        let mark = "\(directory)/\(LogsOfDirectory.zoneFileName)"
        try FileManager.default.removeItem(atPath: mark)
        // Stands where the file is written before it has its name.
        let obstacle = "\(mark).new-\(getpid())"
        try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: false)
        try "".write(toFile: obstacle + "/kept", atomically: true, encoding: .utf8)
        bench = try ServicesBench(files: files)
        #expect(bench.logs.zoneProblem?.sentence.contains("whose logs these are cannot be kept") == true)
        await bench.close()
        try FileManager.default.removeItem(atPath: obstacle)
        bench = try ServicesBench(files: files)
        #expect(bench.logs.zoneProblem == nil && FileManager.default.fileExists(atPath: mark))
        await bench.close()
    }
}
