plugins {
    application
}

repositories {
    mavenCentral()
}

dependencies {
    implementation("dev.nanopool:nanopool:0.1.0-SNAPSHOT")
}

application {
    mainClass = "consumer.Consumer"
}
